"""Small Python programs that tests run in jails: they speak plain sockets and print what they see."""

from __future__ import annotations

#: Answers each datagram with its text in capitals. Arguments: address, port.
UDP_ECHO = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
server.bind((address, port))
print("ready", flush=True)
while True:
    data, peer = server.recvfrom(65536)
    print(data.decode(), "from", peer[0], flush=True)
    server.sendto(data.upper(), peer)
"""

#: Asks until it is answered, and prints the answer. Arguments: address, port, text.
UDP_ASK = """
import socket, sys
address, port, text = sys.argv[1], int(sys.argv[2]), sys.argv[3]
client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(1)
for _ in range(5):
    client.sendto(text.encode(), (address, port))
    try:
        print(client.recv(65536).decode())
        break
    except TimeoutError:
        pass
else:
    sys.exit("no answer")
"""

#: Sends a datagram ten times a second, for ever. Arguments: address, port, text.
UDP_SEND = """
import socket, sys, time
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    client.sendto(sys.argv[3].encode(), (sys.argv[1], int(sys.argv[2])))
    time.sleep(0.1)
"""

#: Reads a web page and prints status and text. Arguments: address, path. The connection is reset at the end, so that
#: no socket lingers in a jail that is removed next.
HTTP_GET = """
import http.client, socket, struct, sys
client = http.client.HTTPConnection(sys.argv[1], timeout=5)
client.connect()
client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
client.request("GET", sys.argv[2])
answer = client.getresponse()
print(answer.status, answer.read().decode().strip())
client.close()
"""

#: A DHCP client in an interface's own subnet: discovers, requests, and prints the offered address, the server's
#: identifier, the lease time, routers and the domain's name as JSON. Arguments: own address, broadcast address, MAC.
#: It asks for answers by broadcast, so that they reach it whatever its address is.
DHCP_ASK = """
import json, os, socket, struct, sys
own, broadcast, mac = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3].replace(":", ""))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
client.settimeout(2)
client.bind(("", 68))
transaction = os.urandom(4)

def build(kind, options):
    head = struct.pack("!BBBB4sHH16x16s192xI", 1, 1, 6, 0, transaction, 0, 0x8000, mac, 0x63825363)
    body = bytes([53, 1, kind, 55, 4, 1, 3, 15, 51]) + options + bytes([255])
    return (head + body).ljust(300, bytes(1))

def read(data):
    options, rest = {}, data[240:]
    while rest and rest[0] != 255:
        if rest[0] == 0:
            rest = rest[1:]
            continue
        options[rest[0]], rest = rest[2:2 + rest[1]], rest[2 + rest[1]:]
    return socket.inet_ntoa(data[16:20]), options

def exchange(kind, options, wanted):
    for _ in range(5):
        client.sendto(build(kind, options), (broadcast, 67))
        try:
            while True:
                data = client.recv(2048)
                if data[0] == 2 and data[4:8] == transaction:
                    address, found = read(data)
                    if found[53][0] == wanted:
                        return address, found
        except TimeoutError:
            continue
    sys.exit("no answer")

offered, found = exchange(1, b"", 2)
server = found[54]
address, found = exchange(3, bytes([50, 4]) + socket.inet_aton(offered) + bytes([54, 4]) + server, 5)
print(json.dumps({
    "address": address, "server": socket.inet_ntoa(server), "seconds": struct.unpack("!I", found[51])[0],
    "router": socket.inet_ntoa(found[3][:4]), "mask": socket.inet_ntoa(found[1]), "domain": found[15].decode(),
}))
"""
