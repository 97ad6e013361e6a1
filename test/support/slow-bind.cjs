// Loaded into the kernel ahead of our launcher: its sockets take a second to bind. Until then they refuse to be used, as
// zeromq's do for the moment that their bind takes, though requests come in already.
const { createRequire } = require("node:module");
const { join } = require("node:path");
const { setTimeout: later } = require("node:timers/promises");

const [, program, tslab] = process.argv;
if (program?.endsWith("launcher.cjs")) {
  const { Publisher, Router, Reply } = createRequire(join(tslab, "dist", "main.js"))("zeromq");
  const binding = new Set();
  for (const { prototype } of [Publisher, Router, Reply]) {
    const { bind, send, receive } = prototype;
    const refuse = (socket) => {
      if (binding.has(socket)) throw new Error("Socket is blocked by a bind or unbind operation");
    };
    Object.defineProperties(prototype, {
      bind: {
        configurable: true,
        async value(address) {
          binding.add(this);
          await bind.call(this, address);
          await later(1000);
          binding.delete(this);
        },
      },
      send: {
        value(message) {
          refuse(this);
          return send.call(this, message);
        },
      },
      receive: {
        configurable: true,
        value() {
          refuse(this);
          return receive.call(this);
        },
      },
    });
  }
}
