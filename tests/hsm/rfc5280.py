#!/usr/bin/env python3
"""Reads certificates and CRLs with nothing of ours and says where they are not what RFC 5280 asks for.

rfc5280.py DIR: root.pem, chain.pem (issuing CA first) and every other *.pem, which chain.pem issued; crl*.pem are its CRLs;
NAME.revoked beside such a list has the file names of the certificates on it, one a line.
Each complaint is a line with the clause; the exit status is 1 when there is one."""
import base64
import datetime
import hashlib
import re
import sys
from pathlib import Path

complaints = 0


def complain(where, clause, text):
    global complaints
    complaints += 1
    print(f"{where}: {clause}: {text}", file=sys.stderr)


# ---- DER (X.690), strictly: what has another encoding as well is refused

class Bad(Exception):
    pass


class Node:
    def __init__(self, data, at, end):
        if end - at < 2:
            raise Bad("a value is cut off")
        self.begin, self.tag = at, data[at]
        if self.tag & 0x1F == 0x1F:
            raise Bad("a tag above 30")
        length, at = data[at + 1], at + 2
        if length == 0x80:
            raise Bad("indefinite length")
        if length > 0x80:
            octets = length - 0x80
            length = int.from_bytes(data[at:at + octets], "big")
            if length < 0x80 or data[at] == 0:
                raise Bad("a length that is not the shortest")
            at += octets
        if at + length > end:
            raise Bad("a value is cut off")
        self.body, self.raw, self.end = data[at:at + length], data[self.begin:at + length], at + length
        self.children = None
        if self.tag & 0x20:
            self.children = list(nodes(data, at, at + length))
            if self.tag == 0x31:
                order = [c.raw for c in self.children]
                if order != sorted(order):
                    raise Bad("a SET OF that is not in order")
        elif self.tag == 0x02:
            self.integer()
        elif self.tag == 0x01 and self.body not in (b"\xff", b"\x00"):
            raise Bad("a BOOLEAN that is neither FALSE nor TRUE")
        elif self.tag == 0x05 and self.body:
            raise Bad("a NULL with contents")
        elif self.tag == 0x06:
            self.oid()
        elif self.tag == 0x03:
            if not self.body or self.body[0] > 7 or (self.body[0] and len(self.body) == 1):
                raise Bad("a BIT STRING without a right number of unused bits")
            if self.body[0] and self.body[-1] & ((1 << self.body[0]) - 1):
                raise Bad("unused bits that are not zero")

    def integer(self):
        b = self.body
        if not b or (len(b) > 1 and (b[0] == 0 and b[1] < 0x80 or b[0] == 0xFF and b[1] >= 0x80)):
            raise Bad("an INTEGER that is not the shortest")
        return int.from_bytes(b, "big", signed=True)

    def oid(self):
        b = self.body
        if not b or b[-1] & 0x80:
            raise Bad("an OID that is cut off")
        arcs, arc, fresh = [], 0, True
        for octet in b:
            if fresh and octet == 0x80:
                raise Bad("an OID's arc that is not the shortest")
            arc, fresh = arc << 7 | octet & 0x7F, not octet & 0x80
            if fresh:
                arcs.append(arc)
                arc = 0
        first = min(arcs[0] // 40, 2)
        return ".".join(map(str, [first, arcs[0] - 40 * first] + arcs[1:]))

    def bits(self):
        """Of a named bit list: the numbers of those that are set."""
        if len(self.body) > 1 and not self.body[-1] >> self.body[0] & 1:
            raise Bad("a named bit list that ends in zeros")
        return {8 * i + j for i, octet in enumerate(self.body[1:]) for j in range(8) if octet & 0x80 >> j}


def nodes(data, at, end):
    while at < end:
        n = Node(data, at, end)
        yield n
        at = n.end


def parse(data):
    n = Node(data, 0, len(data))
    if n.end != len(data):
        raise Bad("something stands behind the value")
    return n


# ---- parts that certificates and CRLs share

BOUNDS = {"2.5.4.3": 64, "2.5.4.5": 64, "2.5.4.6": 2, "2.5.4.7": 128, "2.5.4.8": 128, "2.5.4.9": 128, "2.5.4.10": 64,
          "2.5.4.11": 64, "2.5.4.12": 64, "2.5.4.17": 40}
PRINTABLE = re.compile(rb"[A-Za-z0-9 '()+,\-./:=?]*\Z")


def check_name(where, what, name):
    seen = set()
    for rdn in name.children:
        if rdn.tag != 0x31 or len(rdn.children) != 1:
            complain(where, "4.1.2.4", f"{what}: an RDN that is not one attribute")
            continue
        kind, value = rdn.children[0].children
        oid = kind.oid()
        if value.tag not in (0x0C, 0x13, 0x16):
            complain(where, "4.1.2.4", f"{what}: {oid} is neither UTF8String nor PrintableString")
        if value.tag == 0x16 and oid != "0.9.2342.19200300.100.1.25":
            complain(where, "4.1.2.4", f"{what}: {oid} as IA5String")
        if oid in ("2.5.4.5", "2.5.4.6", "2.5.4.46") and value.tag != 0x13:
            complain(where, "A.1", f"{what}: {oid} must be a PrintableString")
        if value.tag == 0x13 and not PRINTABLE.match(value.body):
            complain(where, "X.680 41.4", f"{what}: {oid} is no PrintableString")
        text = value.body.decode("utf-8")
        if not 1 <= len(text) <= BOUNDS.get(oid, 32768):
            complain(where, "A.1", f"{what}: {oid} has {len(text)} characters")
        if oid == "2.5.4.6" and not re.fullmatch("[A-Z]{2}", text):
            complain(where, "A.1", f"{what}: country {text!r}")
        if oid in seen and oid not in ("2.5.4.11", "0.9.2342.19200300.100.1.25"):
            complain(where, "4.1.2.4", f"{what}: {oid} stands there twice")
        seen.add(oid)


def read_time(where, what, node):
    """4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050, both to the second and in Zulu."""
    text = node.body.decode("ascii")
    if node.tag == 0x17 and re.fullmatch(r"\d{12}Z", text):
        text = ("20" if text < "50" else "19") + text
    elif not (node.tag == 0x18 and re.fullmatch(r"\d{14}Z", text)):
        complain(where, "4.1.2.5", f"{what}: {text!r} is no time of this form")
        return None
    elif text < "2050":
        complain(where, "4.1.2.5", f"{what}: GeneralizedTime before 2050")
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ")


ALGORITHMS = {"1.2.840.10045.4.3.2": None, "1.2.840.10045.4.3.3": None, "1.3.101.112": None,
              "1.2.840.113549.1.1.11": b"\x05\x00"}


def check_algorithm(where, outer, inner):
    if outer.raw != inner.raw:
        complain(where, "4.1.1.2", "the two signature algorithms differ")
    oid = outer.children[0].oid()
    parameters = outer.children[1].raw if len(outer.children) > 1 else None
    if oid not in ALGORITHMS or parameters != ALGORITHMS[oid]:
        complain(where, "4.1.1.2", f"algorithm {oid} with parameters {parameters}")


def read_extensions(where, node):
    found = {}
    for e in node.children:
        oid = e.children[0].oid()
        critical = len(e.children) == 3
        if critical and e.children[1].raw != b"\x01\x01\xff":
            complain(where, "X.690 11.5", f"{oid}: FALSE is the default and not encoded")
        if oid in found:
            complain(where, "4.2", f"{oid} stands there twice")
        found[oid] = critical, parse(e.children[-1].body)
    return found


DNS = re.compile(r"(?=.{1,253}\Z)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\Z")
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+\Z")


def check_general_name(where, what, n):
    kind = n.tag & 0x1F
    text = n.body.decode("ascii", "replace")
    if kind == 0:
        if n.tag != 0xA0 or len(n.children) != 2 or n.children[1].tag != 0xA0:
            complain(where, "4.2.1.6", f"{what}: otherName of a wrong form")
        elif n.children[0].oid() == "1.3.6.1.5.5.7.8.4":
            module = n.children[1].children[0]
            if [c.tag for c in module.children] != [0x06, 0x04]:
                complain(where, "RFC 4108 5", f"{what}: hardwareModuleName of a wrong form")
    elif kind == 1 and not (text.count("@") == 1 and DNS.match(text.split("@")[1])):
        complain(where, "4.2.1.6", f"{what}: rfc822Name {text!r}")
    elif kind == 2 and not DNS.match(text):
        complain(where, "4.2.1.6", f"{what}: dNSName {text!r}")
    elif kind == 6 and not URI.match(text):
        complain(where, "4.2.1.6", f"{what}: URI {text!r}")
    elif kind == 7 and len(n.body) not in (4, 16):
        complain(where, "4.2.1.6", f"{what}: iPAddress of {len(n.body)} octets")
    elif kind == 8 and not parse(b"\x06" + bytes([len(n.body)]) + n.body).oid():
        complain(where, "4.2.1.6", f"{what}: registeredID")
    elif kind not in (0, 1, 2, 6, 7, 8):
        complain(where, "4.2.1.6", f"{what}: a name of kind {kind}, which we do not write")


# ---- a certificate

AKI, SKI, KU, SAN, BC, CRLDP, CP, EKU = (f"2.5.29.{n}" for n in (35, 14, 15, 17, 19, 31, 32, 37))
AIA = "1.3.6.1.5.5.7.1.1"
USAGES = {"1.2.840.113549.1.1.1": {0, 1, 2, 3}, "1.2.840.10045.2.1": {0, 1, 4}, "1.3.101.112": {0, 1}}


class Certificate:
    def __init__(self, der):
        self.node = parse(der)
        tbs = self.node.children[0]
        parts = list(tbs.children)
        self.version = parts.pop(0).children[0].integer() if parts[0].tag == 0xA0 else 0
        (self.serial, self.inner_algorithm, self.issuer, self.validity, self.subject, self.spki) = parts[:6]
        self.rest = parts[6:]
        self.extensions = {}


def check_extensions(where, c, is_ca):
    x = c.extensions
    for oid, (critical, _) in x.items():
        if oid not in (AKI, SKI, KU, SAN, BC, CRLDP, CP, EKU, AIA):
            complain(where, "4.2", f"extension {oid}, which we do not write")
        if critical and oid in (AKI, SKI, AIA):
            complain(where, "4.2", f"{oid} must not be critical")
    usage = x[KU][1].bits() if KU in x else set()
    if KU not in x or not x[KU][0] or not usage:
        complain(where, "4.2.1.3", "keyUsage must be there, critical, and for something")
    if is_ca:
        if usage != {5, 6} or BC not in x or not x[BC][0] or not x[BC][1].children or x[BC][1].children[0].body != b"\xff":
            complain(where, "4.2.1.9", "a CA needs keyCertSign, cRLSign and critical basicConstraints")
    else:
        if usage - USAGES[c.spki.children[0].children[0].oid()]:
            complain(where, "RFC 3279, 5480, 8410", f"key usage {usage} is not for this kind of key")
        if BC in x and x[BC][1].children:
            complain(where, "4.2.1.9", "basicConstraints of a device must be empty")
    if EKU in x:
        purposes = [p.oid() for p in x[EKU][1].children]
        if not purposes or len(set(purposes)) != len(purposes):
            complain(where, "4.2.1.12", "no purpose, or one twice")
    if CP in x:
        policies = [p.children[0].oid() for p in x[CP][1].children]
        if not policies or len(set(policies)) != len(policies):
            complain(where, "4.2.1.4", "no policy, or one twice")
    if CRLDP in x:
        if x[CRLDP][0]:
            complain(where, "4.2.1.13", "cRLDistributionPoints should not be critical")
        for point in x[CRLDP][1].children:
            for name in point.children[0].children[0].children:
                check_general_name(where, "cRLDistributionPoints", name)
    if AIA in x:
        for access in x[AIA][1].children:
            check_general_name(where, "authorityInfoAccess", access.children[1])
    if SAN in x:
        for name in x[SAN][1].children:
            check_general_name(where, "subjectAltName", name)
        if not x[SAN][1].children or x[SAN][0] != (not c.subject.children):
            complain(where, "4.2.1.6", "subjectAltName is critical if and only if there is no subject")
    elif not c.subject.children:
        complain(where, "4.1.2.6", "neither a subject nor another name")


def check_certificate(where, c, by, is_ca):
    outer, signature = c.node.children[1:]
    if c.version != 2:
        complain(where, "4.1.2.1", "it is not version 3")
    if not 0 < c.serial.integer() or len(c.serial.body) > 20:
        complain(where, "4.1.2.2", "the serial number is not positive or longer than 20 octets")
    check_algorithm(where, outer, c.inner_algorithm)
    if signature.body[0]:
        complain(where, "4.1.1.3", "the signature is not whole octets")
    if not c.issuer.children:
        complain(where, "4.1.2.4", "no issuer")
    check_name(where, "issuer", c.issuer)
    check_name(where, "subject", c.subject)
    begin, end = (read_time(where, "validity", t) for t in c.validity.children)
    if not begin or not end or not begin < end:
        complain(where, "4.1.2.5", "the validity ends before it begins")
    if len(c.rest) != 1 or c.rest[0].tag != 0xA3:
        complain(where, "4.1.2.8", "unique identifiers, or no extensions")
        return
    c.extensions = read_extensions(where, c.rest[0].children[0])
    check_extensions(where, c, is_ca)
    if c.issuer.raw != by.subject.raw:
        complain(where, "6.1.3", "the issuer's name is not its subject, byte for byte")
    ids = c.extensions.get(SKI), c.extensions.get(AKI), by.extensions.get(SKI)
    if not all(ids):
        complain(where, "4.2.1.1", "a key identifier is missing")
    else:
        if ids[1][1].children[0].raw != b"\x80" + ids[2][1].raw[1:]:
            complain(where, "4.2.1.1", "authorityKeyIdentifier is not the issuer's subjectKeyIdentifier")
        if ids[0][1].body != hashlib.sha256(c.spki.children[1].body[1:]).digest()[:20]:
            complain(where, "RFC 7093 2", "subjectKeyIdentifier is not of method 1")


# ---- a CRL (5.1 and 5.2)

REASONS = {1, 3, 4, 5, 9}  # not unspecified, which is said by saying nothing; and what is revoked here is so for ever


def check_entry(where, entry, this_update):
    date = read_time(where, "revocationDate", entry.children[1])
    if date and this_update and date > this_update:
        complain(where, "5.1.2.6", "a certificate was revoked after the list was made")
    for oid, (critical, value) in (read_extensions(where, entry.children[2]) if len(entry.children) > 2 else {}).items():
        if oid != "2.5.29.21":
            complain(where, "5.3", f"entry extension {oid}, which we do not write")
        elif critical or value.tag != 0x0A or int.from_bytes(value.body, "big") not in REASONS:
            complain(where, "5.3.1", f"reason {value.body.hex()}, which is critical or none of ours")


def check_crl(where, der, by, revoked):
    """revoked: the serial numbers that must be on it, and no others; None: whatever. Returns thisUpdate and cRLNumber."""
    tbs, outer, signature = parse(der).children
    parts = list(tbs.children)
    if parts[0].tag != 0x02 or parts.pop(0).integer() != 1:
        complain(where, "5.1.2.1", "it is not version 2")
    check_algorithm(where, outer, parts.pop(0))
    if signature.body[0]:
        complain(where, "5.1.1.3", "the signature is not whole octets")
    if parts.pop(0).raw != by.subject.raw:
        complain(where, "5.1.2.3", "the issuer's name is not the CA's, byte for byte")
    times = []
    while parts and parts[0].tag in (0x17, 0x18):
        times.append(read_time(where, "update", parts.pop(0)))
    if len(times) != 2 or not times[0] < times[1]:
        complain(where, "5.1.2.5", "thisUpdate and a later nextUpdate must be there")
    serials = set()
    if parts and parts[0].tag == 0x30:
        entries = parts.pop(0).children
        if not entries:
            complain(where, "5.1.2.6", "an empty list must be left out")
        for entry in entries:
            serial = entry.children[0].integer()
            if serial in serials:
                complain(where, "5.1.2.6", f"{serial:x} stands there twice")
            serials.add(serial)
            check_entry(where, entry, times[0] if times else None)
    if revoked is not None and serials != revoked:
        complain(where, "5.1.2.6", f"{len(serials - revoked)} certificates are on it by mistake, {len(revoked - serials)} are not")
    x = read_extensions(where, parts[0].children[0]) if parts else {}
    if AKI not in x or x[AKI][1].children[0].body != by.extensions[SKI][1].body:
        complain(where, "5.2.1", "authorityKeyIdentifier is missing or another key's")
    for oid in x.keys() - {AKI, "2.5.29.20"}:
        complain(where, "5.2", f"extension {oid}, which we do not write")
    number = x.get("2.5.29.20")
    if not number or number[0] or not 0 <= number[1].integer() or len(number[1].body) > 20:
        complain(where, "5.2.3", "cRLNumber must be there, not critical and at most 20 octets")
        return None
    return (times[0], number[1].integer()) if times and times[0] else None


# ---- all

def read_pem(path):
    blocks = re.findall(r"-----BEGIN [A-Z0-9 ]+-----(.+?)-----END", path.read_text(), re.S)
    return [base64.b64decode(b) for b in blocks]


def serials_of(folder, crl):
    names = crl.with_suffix(".revoked")
    if not names.exists():
        return None
    return {Certificate(read_pem(folder / name)[0]).serial.integer() for name in names.read_text().split()}


def check_numbers(where, lists):
    """A later list has a higher number; lists: thisUpdate and cRLNumber of each."""
    numbers = [number for _, number in sorted(lists)]
    if numbers != sorted(set(numbers)):
        complain(where, "5.2.3", f"cRLNumbers {numbers} do not grow")


def main(folder):
    issuing, root = (Certificate(der) for der in read_pem(folder / "chain.pem"))
    for c, by, name in ((root, root, "root"), (issuing, root, "issuing")):
        check_certificate(f"{folder}/{name}", c, by, True)
    serials, lists = set(), []
    for path in sorted(folder.glob("*.pem")):
        try:
            if path.name.startswith("crl"):
                lists.append(check_crl(path, read_pem(path)[0], issuing, serials_of(folder, path)))
            elif path.name not in ("root.pem", "chain.pem"):
                c = Certificate(read_pem(path)[0])
                check_certificate(path, c, issuing, False)
                if c.serial.raw in serials:
                    complain(path, "4.1.2.2", "another certificate has this serial number")
                serials.add(c.serial.raw)
        except (Bad, IndexError, ValueError, AttributeError, TypeError) as why:
            complain(path, "X.690", f"it cannot be read: {why!r}")
    check_numbers(folder, [known for known in lists if known])
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
