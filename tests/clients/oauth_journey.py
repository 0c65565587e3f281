"""libpq 18 shows an access token by OAUTHBEARER. psycopg brings the library, but has no way to its
hook for tokens, so that the library is spoken to directly."""

import ctypes
import glob
import importlib.util
import os

origin = importlib.util.find_spec("psycopg_binary").origin
folder = os.path.dirname(os.path.dirname(origin))
pq = ctypes.CDLL(glob.glob(os.path.join(folder, "psycopg_binary.libs", "libpq-*.so*"))[0])
for name, result, arguments in [
    ("PQconnectdb", ctypes.c_void_p, [ctypes.c_char_p]),
    ("PQstatus", ctypes.c_int, [ctypes.c_void_p]),
    ("PQerrorMessage", ctypes.c_char_p, [ctypes.c_void_p]),
    ("PQexec", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]),
    ("PQgetvalue", ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]),
]:
    function = getattr(pq, name)
    function.restype, function.argtypes = result, arguments


class Request(ctypes.Structure):
    """PGoauthBearerRequest of libpq-fe.h."""

    _fields_ = [
        ("openid_configuration", ctypes.c_char_p),
        ("scope", ctypes.c_char_p),
        ("step", ctypes.c_void_p),
        ("cleanup", ctypes.c_void_p),
        ("token", ctypes.c_char_p),
        ("user", ctypes.c_void_p),
    ]


BEARER_TOKEN = 1


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(Request))
def hook(kind, _connection, request):
    if kind != BEARER_TOKEN:
        return 0
    place = request.contents.openid_configuration.decode()
    print(f"asked for a token of {place} for {request.contents.scope.decode()}", flush=True)
    request.contents.token = os.environ["TOKEN"].encode()
    return 1


pq.PQsetAuthDataHook.argtypes = [ctypes.c_void_p]
pq.PQsetAuthDataHook(ctypes.cast(hook, ctypes.c_void_p))
connection = pq.PQconnectdb(os.environ["CONNINFO"].encode())
if pq.PQstatus(connection) != 0:
    print(pq.PQerrorMessage(connection).decode())
    raise SystemExit(1)
print(pq.PQgetvalue(pq.PQexec(connection, b"select current_user"), 0, 0).decode())
