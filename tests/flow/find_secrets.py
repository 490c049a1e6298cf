#!/usr/bin/env python3
"""find_secrets.py FLASH DIR PID...: are private keys that lie in the devices' flashes anywhere else?

Looks for each key's private number, as bytes (either order), in hex and inside base64, in every file below DIR but FLASH, and in the
memory of the processes. Says where, and exits with 1 when something was found, with 2 when it could not look."""
import base64, os, sys

def private_number(path):
    """Of the simulator's key file: 36 bytes head, the key type, PKCS #8 of a P-256 key (RFC 5915 inside)."""
    der = open(path, "rb").read()[37:]
    at = der.index(bytes.fromhex("0201010420")) + 5
    return der[at:at + 32]

def forms(number):
    yield "bytes", number
    yield "bytes backwards", number[::-1]  # as OpenSSL's numbers lie in memory
    yield "hex", number.hex().encode()
    yield "HEX", number.hex().upper().encode()
    for shift in range(3):  # base64 of something the number is part of, wherever it begins in it
        text = base64.b64encode(bytes(shift) + number)
        inner = text[4 if shift else 0:len(text) - 4]
        yield "base64", inner
        yield "base64url", inner.replace(b"+", b"-").replace(b"/", b"_")

def search(what, data, wanted):
    found = False
    for device, form, needle in wanted:
        if needle in data:
            print(f"{what}: the private key of {device} as {form}")
            found = True
    return found

# Address space that a sanitizer keeps for its notes about memory: terabytes, and no memory of the program's.
SHADOW_BYTES = 1 << 30

def memory(pid):
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            fields = line.split()
            if not fields[1].startswith("r") or "[v" in line:
                continue
            start, end = (int(n, 16) for n in fields[0].split("-"))
            if end - start > SHADOW_BYTES:
                continue
            try:
                mem.seek(start)
                yield mem.read(end - start)
            except OSError:
                pass

def main():
    flash, root, pids = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2]), sys.argv[3:]
    wanted, files, found = [], 0, False
    for device in os.listdir(flash):
        key = os.path.join(flash, device, "key")
        if os.path.exists(key):
            wanted += [(device, form, needle) for form, needle in forms(private_number(key))]
    if not wanted:
        print("no device has a key: there is nothing to look for")
        return 2
    # The search itself is tried: what is in the flash is found there.
    device, _, number = wanted[0]
    if number not in open(os.path.join(flash, device, "key"), "rb").read():
        print("the search does not find what is there")
        return 2
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if path.startswith(flash + "/") or not os.path.isfile(path):
                continue
            found |= search(path, open(path, "rb").read(), wanted)
            files += 1
    for pid in pids:
        try:
            for piece in memory(pid):
                name = open(f"/proc/{pid}/comm").read().strip()
                found |= search(f"memory of {name} ({pid})", piece, wanted)
        except PermissionError:
            print(f"the memory of {pid} may not be read here: only root may")
    print(f"looked for {len(wanted)} forms in {files} files and {len(pids)} processes")
    return 1 if found else 0

sys.exit(main())
