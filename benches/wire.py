"""A small PostgreSQL client: TLS, a password or SCRAM, statements, and streams that are read and thrown away.

It exists because a client that builds an object of every row costs more than the proxy that is measured.
"""
import base64
import hashlib
import hmac
import secrets
import socket
import ssl
import struct

SSL_REQUEST, PROTOCOL_3_0 = 80877103, 196608
READY = b"Z\0\0\0\5"


def tls_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # as libpq's sslmode=require
    return context


CONTEXT = tls_context()


class ServerError(Exception):
    """The server's own refusal; anything else is a broken connection (OSError)."""

    def __init__(self, body):
        self.fields = {part[:1].decode(): part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
        super().__init__(f"{self.fields.get('C')}: {self.fields.get('M')}")


def message(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


def text(value):
    return value.encode() + b"\0"


def bind(portal, statement, values, result_formats):
    body = [text(portal), text(statement), struct.pack("!HH", 0, len(values))]
    for value in values:
        body += [struct.pack("!I", len(value)), value]
    body.append(struct.pack(f"!H{len(result_formats)}H", len(result_formats), *result_formats))
    return message(b"B", b"".join(body))


SYNC, EXECUTE = message(b"S"), message(b"E", b"\0" + struct.pack("!I", 0))


class Client:
    """One session. Not for several threads at once."""

    def __init__(self, port, user, password, database, timeout=60):
        plain = socket.create_connection(("127.0.0.1", port), timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.sendall(struct.pack("!II", 8, SSL_REQUEST))
            if plain.recv(1) != b"S":
                raise OSError("the server does not speak TLS")
            self.socket = CONTEXT.wrap_socket(plain)
        except BaseException:
            plain.close()
            raise
        self.buffer, self.prepared = b"", set()
        try:
            self.log_in(user, password, database)
        except BaseException:
            self.close()
            raise

    def log_in(self, user, password, database):
        body = struct.pack("!I", PROTOCOL_3_0) + b"".join(map(text, ("user", user, "database", database, "application_name", "bench"))) + b"\0"
        self.socket.sendall(struct.pack("!I", len(body) + 4) + body)
        scram = None
        while True:
            kind, body = self.receive()
            if kind == b"R":
                what = struct.unpack_from("!I", body)[0]
                if what == 3:
                    self.socket.sendall(message(b"p", text(password)))
                elif what == 10:
                    scram = Scram(password)
                    first = scram.first()
                    self.socket.sendall(message(b"p", text("SCRAM-SHA-256") + struct.pack("!I", len(first)) + first))
                elif what == 11:
                    self.socket.sendall(message(b"p", scram.final(body[4:])))
                elif what not in (0, 12):
                    raise OSError(f"authentication {what} is not spoken here")
            elif kind == b"E":
                raise ServerError(body)
            elif kind == b"Z":
                return

    def receive(self):
        while len(self.buffer) < 5 or len(self.buffer) < (end := 1 + struct.unpack_from("!I", self.buffer, 1)[0]):
            more = self.socket.recv(1 << 16)
            if not more:
                raise OSError("the connection ended")
            self.buffer += more
        kind, body, self.buffer = self.buffer[:1], self.buffer[5:end], self.buffer[end:]
        return kind, body

    def rows(self):
        """The rows up to ReadyForQuery: tuples of bytes or None."""
        found, error = [], None
        while True:
            kind, body = self.receive()
            if kind == b"D":
                row, at = [], 2
                for _ in range(struct.unpack_from("!H", body)[0]):
                    size = struct.unpack_from("!i", body, at)[0]
                    row.append(None if size < 0 else body[at + 4:at + 4 + size])
                    at += 4 + max(size, 0)
                found.append(tuple(row))
            elif kind == b"E":
                error = ServerError(body)
                if error.fields.get("S") == "FATAL":
                    raise OSError(str(error))
            elif kind == b"Z":
                if error:
                    raise error
                return found

    def query(self, statement):
        """A simple query."""
        self.socket.sendall(message(b"Q", text(statement)))
        return self.rows()

    def extended(self, statement):
        """Unnamed statement and portal, run once, text rows."""
        self.socket.sendall(parse("", statement) + bind("", "", [], [0]) + EXECUTE + SYNC)
        return self.rows()

    def run_prepared(self, name, statement, values):
        """Prepared at its first use in this session."""
        first = b"" if name in self.prepared else parse(name, statement)
        self.socket.sendall(first + bind("", name, values, [0]) + EXECUTE + SYNC)
        self.prepared.add(name)
        return self.rows()

    def stream(self, statement, binary_rows=False):
        """Runs it and reads all that comes, without looking into it. Returns bytes, the command's tag and the last 256 bytes."""
        if binary_rows:
            self.socket.sendall(parse("", statement) + bind("", "", [], [1]) + message(b"D", b"P\0") + EXECUTE + SYNC)
        else:
            self.socket.sendall(message(b"Q", text(statement)))
        chunk, size, tail = memoryview(bytearray(1 << 18)), 0, b""
        while True:
            count = self.socket.recv_into(chunk)
            if not count:
                raise OSError("the connection ended within the stream")
            size += count
            tail = (tail + bytes(chunk[max(count - 256, 0):count]))[-256:]
            if tail[-6:-1] == READY:
                # Rows hold no such bytes at their end by chance: before them stands the command's own message.
                start = tail.rfind(b"C\0\0\0", 0, len(tail) - 6)
                length = struct.unpack_from("!I", tail, start + 1)[0] if start >= 0 else 0
                if start >= 0 and start + 1 + length == len(tail) - 6:
                    return size, tail[start + 5:len(tail) - 7].decode(), tail
                if size < 4096:
                    raise OSError(f"`{statement}` failed: {tail!r}")

    def close(self):
        self.socket.close()


def parse(name, statement):
    return message(b"P", text(name) + text(statement) + struct.pack("!H", 0))


class Scram:
    """RFC 5802 with SHA-256, without channel binding. The server's signature is not checked: it is our own."""

    def __init__(self, password):
        self.password, self.nonce = password.encode(), secrets.token_urlsafe(18)

    def first(self):
        return f"n,,n=,r={self.nonce}".encode()

    def final(self, challenge):
        fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(fields["s"]), int(fields["i"]))
        bare = f"c=biws,r={fields['r']}"
        signed = f"n=,r={self.nonce},{challenge.decode()},{bare}".encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        return f"{bare},p={proof}".encode()
