#!/usr/bin/env bash
# docs/ceremony.md is run as it is written: every block "console rehearsed", in order, in one shell; each command must
# succeed and print what stands below it. What people do by hand in between is done by the steps named here.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
: "${KEYLINE_BIN:?}"
export PATH=$KEYLINE_BIN:$PATH
exec python3 - docs/ceremony.md <<'PYTHON'
import os, re, shutil, subprocess, sys

# before the command that begins so, what a person does meanwhile
HANDS = {
    "sed -n '1p;3p' shares": "cp shares envelopes",
    "openssl x509 -req -in issuing.csr": "sed -n '1p;2p' envelopes | ssss-combine -t 2 -q 2>pass",
    "cp $CARRY/approver.pem": "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1825 "
        "-subj '/O=Example Devices/CN=A. Approver' -addext keyUsage=critical,digitalSignature "
        "-keyout /dev/null -out $CARRY/approver.pem 2>/dev/null",
    "keyline ca import $CARRY/chain-2.pem": "cd $OFFLINE; cp $CARRY/issuing.csr $CARRY/root.key .; "
        "sed -n '2p;3p' envelopes | ssss-combine -t 2 -q 2>pass; "
        "openssl x509 -req -in issuing.csr -CA root.pem -CAkey root.key -passin file:pass -sha384 -days 7000 "
        "-copy_extensions copyall -CAcreateserial -out issuing-2.pem 2>/dev/null; "
        "cat issuing-2.pem root.pem >$CARRY/chain-2.pem; rm pass root.key",
}

class Shell:
    def __init__(self):
        self.p = subprocess.Popen(["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True)
    def run(self, command):
        self.p.stdin.write(command + "\necho \"--end $?\"\n")
        self.p.stdin.flush()
        said = []
        while True:
            line = self.p.stdout.readline()
            if not line:
                sys.exit("the shell has ended in: " + command)
            if line.startswith("--end "):
                return int(line.split()[1]), said
            # output without a newline at its end
            if "--end " in line and re.search(r"--end \d+$", line):
                said.append(line[:line.rindex("--end ")])
                return int(line[line.rindex("--end ") + 6:]), said
            said.append(line.rstrip("\n"))

def steps(path):
    block = None
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        line = line.rstrip("\n")
        if block is None:
            if line == "```console rehearsed":
                block = []
        elif line == "```":
            yield from block
            block = None
        elif line.startswith("$ "):
            block.append((number, line[2:], []))
        else:
            block[-1][2].append(line)

def fits(wanted, said):
    """Each wanted line, in order; a line of dots alone is any number of lines."""
    text = "".join("(?:.*\n)*" if w == "..." else ".*".join(map(re.escape, w.split("..."))) + "\n" for w in wanted)
    return re.fullmatch(text, "".join(s + "\n" for s in said)) is not None

shell, count = Shell(), 0
try:
    for number, command, wanted in steps(sys.argv[1]):
        for begin, hands in HANDS.items():
            if command.startswith(begin):
                status, said = shell.run(hands)
                if status:
                    sys.exit("what people do before line %d failed: %s" % (number, said))
        status, said = shell.run(command)
        if status or not fits(wanted, said):
            sys.exit("docs/ceremony.md:%d: %s\nstatus %d, it said:\n%s\nand should have said:\n%s" %
                     (number, command, status, "\n".join(said), "\n".join(wanted)))
        count += 1
finally:
    shell.run("cd /; rm -rf \"$KEYLINE_ROOT\" \"$OFFLINE\" \"$CARRY\" \"$COPIES\"")
    shell.p.stdin.close()
    shell.p.wait()
if count < 35:
    sys.exit("only %d commands were found: is the document still marked?" % count)
print("%d commands of docs/ceremony.md did what it says\n1 passed, 0 failed" % count)
PYTHON
