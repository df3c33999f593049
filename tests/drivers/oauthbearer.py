"""SASL OAUTHBEARER (RFC 7628) with the libpq 18 inside psycopg's wheel: the server's challenge, then the token in PGPASSWORD.

Needs OAUTH_ISSUER. The token comes from the program by PQsetAuthDataHook, as a workload without a browser would do it.
"""
import ctypes
import glob
import os
import pathlib

import psycopg
from psycopg import pq

OAUTH_BEARER_TOKEN = 1  # PGauthData


class Request(ctypes.Structure):
    """PGoauthBearerRequest of libpq-fe.h."""
    _fields_ = [("openid_configuration", ctypes.c_char_p), ("scope", ctypes.c_char_p), ("async_", ctypes.c_void_p),
                ("cleanup", ctypes.c_void_p), ("token", ctypes.c_char_p), ("user", ctypes.c_void_p)]


token = os.environ.pop("PGPASSWORD").encode()  # libpq reads this very memory: it must outlive the login
asked = []


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def hook(kind, _conn, data):
    if kind != OAUTH_BEARER_TOKEN:
        return 0
    request = ctypes.cast(data, ctypes.POINTER(Request)).contents
    asked.append((request.openid_configuration.decode(), (request.scope or b"").decode()))
    request.token = token
    return 1


libraries = pathlib.Path(psycopg.__file__).parent.parent / "psycopg_binary.libs"
libpq = ctypes.CDLL(glob.glob(f"{libraries}/libpq-*.so*")[0])  # the one that psycopg has loaded already
libpq.PQsetAuthDataHook(hook)
assert pq.version() >= 180000, f"libpq {pq.version()} knows no OAUTHBEARER"

issuer = os.environ["OAUTH_ISSUER"]
if issuer.startswith("http://127.0.0.1:"):
    os.environ["PGOAUTHDEBUG"] = "UNSAFE"  # libpq wants https otherwise
options = f"oauth_issuer={issuer} oauth_client_id=driver-scenario require_auth=oauth"


def connect():
    return pq.PGconn.connect(options.encode())


conn = connect()
assert conn.status == pq.ConnStatus.OK, conn.error_message.decode()
assert conn.exec_(b"SELECT 42").get_value(0, 0) == b"42"
conn.finish()
print("ok oauthbearer")

configuration, scope = asked[0]
assert configuration == f"{issuer}/.well-known/openid-configuration", configuration
assert scope, "the challenge names a scope"
print("ok challenge")

token = b"not.a.token"
conn = connect()
assert conn.status == pq.ConnStatus.BAD, "a token that is none is refused"
assert b"not.a.token" not in conn.error_message, conn.error_message
conn.finish()
print("ok refused")
print("done 3")
