#!/usr/bin/env python3
"""An upstream that does what a server must not do. hostile_server.py DIR: listens on a free port of loopback, which it
writes to DIR/port; each request does what DIR/mode names at that moment and is noted in DIR/log:
"TIME METHOD PATH STATUS CLIENT-PORT AUTHORIZATION". In mode "good" it is a minimal store that keeps the contract (DIR/store)."""
import email.utils
import http.server
import os
import socket
import sys
import threading
import time
import urllib.parse

DIR = sys.argv[1]
PAGE = b"<html><body>Welcome! Please accept our terms.</body></html>\n" * 50
lock = threading.Lock()


def mode():
    with open(os.path.join(DIR, "mode"), encoding="ascii") as f:
        return f.read().split()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, format, *args):
        pass

    def note(self, status):
        with lock, open(os.path.join(DIR, "log"), "a", encoding="utf-8") as f:
            print(f"{time.time():.3f} {self.command} {self.path} {status} {self.client_address[1]} "
                  f"{self.headers.get('Authorization', '-')}", file=f)

    def answer(self, status, body=b"", headers=()):
        self.note(status)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def raw(self, name, data):
        self.note(name)
        self.close_connection = True
        self.wfile.write(data)

    def forever(self, name, head, piece):
        """Ends only when the other side hangs up (or after a bound, so that nothing is left behind)."""
        self.raw(name, head)
        try:
            for _ in range(200000):
                self.wfile.write(piece)
        except OSError:
            with lock, open(os.path.join(DIR, "hung-up"), "a", encoding="ascii") as f:
                print(name, file=f)

    def silent(self):
        """Never answers; the other side must hang up."""
        self.note("silent")
        self.close_connection = True
        self.connection.settimeout(50)
        try:
            gone = self.connection.recv(1) == b""
        except OSError:
            gone = False
        if gone:
            with lock, open(os.path.join(DIR, "hung-up"), "a", encoding="ascii") as f:
                print("silent", file=f)

    def store(self, body):
        path = os.path.join(DIR, "store", urllib.parse.quote(self.path, safe=""))
        if self.command == "GET":
            if not os.path.exists(path):
                return self.answer(404)
            with open(path, "rb") as f:
                return self.answer(200, f.read())
        if os.path.exists(path):
            return self.answer(412)
        with open(path, "wb") as f:
            f.write(body)
        return self.answer(201, PAGE)

    def handle_one(self):
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length) if length else b""
        if len(body) < length:  # the other side hung up: a PUT is stored whole or not at all
            self.close_connection = True
            return
        what, *args = mode()
        if what == "good":
            self.store(body)
        elif what == "status":
            self.answer(int(args[0]), PAGE, [("Retry-After", args[1])] if len(args) > 1 else [])
        elif what == "date":
            date = email.utils.formatdate(time.time() + int(args[0]), usegmt=True)
            self.answer(503, b"", [("Retry-After", date)])
        elif what == "redirect":
            self.answer(307, b"", [("Location", f"http://127.0.0.1:{PORT}/stolen{self.path}")])
        elif what == "password":
            if self.headers.get("Authorization") == args[0].replace("_", " "):
                self.store(body)
            else:
                self.answer(401, PAGE, [("WWW-Authenticate", 'Basic realm="x"')])
        elif what == "silent":
            self.silent()
        elif what == "garbage":
            self.raw(what, b"\x00\xff\x1b[2Jnot http at all\r\n\r\n")
        elif what == "headers":
            self.forever(what, b"HTTP/1.1 201 Created\r\n", b"X-Fill: " + b"y" * 4000 + b"\r\n")
        elif what == "body":
            self.forever(what, b"HTTP/1.1 200 OK\r\n\r\n", PAGE)
        elif what == "cut":
            self.raw(what, b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nonly this")
        else:
            raise ValueError(what)

    do_PUT = do_GET = do_MKCOL = handle_one


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


server = Server(("127.0.0.1", 0), Handler)
server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
PORT = server.server_address[1]
os.makedirs(os.path.join(DIR, "store"), exist_ok=True)
with open(os.path.join(DIR, "port.tmp"), "w", encoding="ascii") as port_file:
    port_file.write(str(PORT))
os.rename(os.path.join(DIR, "port.tmp"), os.path.join(DIR, "port"))
server.serve_forever()
