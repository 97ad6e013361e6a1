"""One measurement of paramiko: HOST PORT USER KEY up|down FROM TO LIMIT. Prints seconds and bytes as JSON.

`put` and `get` as people write them: a folder is one file after another. After LIMIT seconds it stops, at the end of a file.
"""

import json
import os
import sys
import time

import paramiko

host, port, user, key, way, source, target, limit = sys.argv[1:]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(host, int(port), user, key_filename=key, allow_agent=False, look_for_keys=False)
sftp = client.open_sftp()

begin = time.perf_counter()
if os.path.isdir(source):
    names = sorted(os.listdir(source))
    (sftp.mkdir if way == "up" else os.mkdir)(target)
    pairs = [(f"{source}/{name}", f"{target}/{name}") for name in names]
else:
    pairs = [(source, target)]
size = 0
files = 0
for a, b in pairs:
    (sftp.put if way == "up" else sftp.get)(a, b)
    size += os.path.getsize(a)
    files += 1
    if time.perf_counter() - begin > float(limit):
        break
seconds = time.perf_counter() - begin
print(json.dumps({"seconds": seconds, "bytes": size, "files": files, "all": files == len(pairs)}))
client.close()
