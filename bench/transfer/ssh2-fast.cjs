// One file by ssh2's own fastPut or fastGet, which hash nothing and resume nothing: HOST PORT USER KEY up|down FROM TO.
// What of a distance to OpenSSH is ssh2's, and what is ours, shows beside it. Prints seconds and bytes as JSON.
const { readFileSync, statSync } = require("node:fs");
const { join } = require("node:path");

const [host, port, username, key, way, from, to] = process.argv.slice(2);
const { Client } = require(join(__dirname, "..", "..", ".yale", "bench", "node_modules", "ssh2"));
const client = new Client();
client.on("ready", () => {
  // Else ssh2 waits for answers to small packets, and takes four times as long.
  client.setNoDelay(true);
  client.sftp((failed, sftp) => {
    if (failed) throw failed;
    const begin = performance.now();
    const done = (error) => {
      if (error) throw error;
      const seconds = (performance.now() - begin) / 1000;
      console.log(JSON.stringify({ seconds, bytes: statSync(from).size, all: true }));
      client.end();
    };
    if (way === "up") sftp.fastPut(from, to, done);
    else sftp.fastGet(from, to, done);
  });
});
client.connect({ host, port: Number(port), username, privateKey: readFileSync(key) });
