// How fast files move, beside paramiko and OpenSSH's own clients, in one run on this machine: on loopback, and over a line
// with 30 ms of round trip (root only: it makes two network namespaces). Bytes are compared after every whole transfer.
//   node bench/transfer/run.mjs [--rounds 3] [--cap 10] [--big 512] [--small 2000] [--only loopback|delay] [--json FILE]
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import { attempt, main, run, SetupError, step } from "../../scripts/lib/steps.mjs";
import { machine, Site } from "./site.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(dirname(here));
const tools = join(root, ".yale", "bench");
const MIB = 2 ** 20;
const PARAMIKO = "5.1.0";
/** No rival, but what ours stands on: it has no trees. */
const ONE_FILE = "ssh2's own fastPut, fastGet";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    cap: { type: "string", default: "10" },
    big: { type: "string", default: "512" },
    small: { type: "string", default: "2000" },
    only: { type: "string" },
    json: { type: "string" },
  },
});
const [rounds, cap, big, count] = [values.rounds, values.cap, values.big, values.small].map(Number);

/** ssh2 with its native binding where a compiler is there, paramiko in a venv, and our client as one file. */
async function makeTools() {
  mkdirSync(tools, { recursive: true });
  const version = createRequire(join(root, "kernel-lib", "package.json"))("ssh2/package.json").version;
  if (!existsSync(join(tools, "node_modules", "ssh2")))
    await run("npm", ["install", "--prefix", tools, "--no-audit", "--no-fund", `ssh2@${version}`]);
  if (!existsSync(binding())) await attempt("npm", ["rebuild", "--prefix", tools, "ssh2"]);
  const python = join(tools, "venv", "bin", "python");
  if (!existsSync(python)) await run("python3", ["-m", "venv", join(tools, "venv")]);
  await run(python, ["-m", "pip", "install", "-q", "--disable-pip-version-check", `paramiko==${PARAMIKO}`]);
  await build({
    entryPoints: [join(here, "ours.ts")],
    outfile: join(tools, "ours.cjs"),
    bundle: true,
    platform: "node",
    format: "cjs",
    external: ["ssh2"],
    // As scripts/build.mjs has it.
    define: { "import.meta.url": "__importMetaUrl" },
    banner: { js: 'const __importMetaUrl = require("node:url").pathToFileURL(__filename).href;' },
    logLevel: "warning",
  });
}

function binding() {
  return join(tools, "node_modules", "ssh2", "lib", "protocol", "crypto", "build", "Release", "sshcrypto.node");
}

/** The clients that are compared, each as a function of one measurement to seconds and bytes. */
function clients(place) {
  const { site, host, port, enter } = place;
  const at = [host, String(port), site.user, site.key];
  const json = async (command) => {
    const [program, ...args] = [...enter, ...command];
    return JSON.parse((await run(program, args)).trim().split("\n").at(-1));
  };
  const options = ["-F", "none", "-i", site.key, "-P", String(port), "-q"];
  for (const o of ["IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"])
    options.push("-o", o);
  const address = `${site.user}@${host}`;
  const sftp = (cipher) => async (way, from, to, limit) => {
    const verb = `${way === "up" ? "put" : "get"}${statSync(from).isDirectory() ? " -r" : ""} ${from} ${to}\n`;
    return timed([...enter, "sftp", ...cipher, ...options, "-b", "-", address], verb, from, to, limit);
  };
  const scp = (cipher) => async (way, from, to, limit) => {
    const [a, b] = way === "up" ? [from, `${address}:${to}`] : [`${address}:${from}`, to];
    return timed([...enter, "scp", ...cipher, ...options, "-r", a, b], "", from, to, limit);
  };
  const gcm = ["-c", "aes128-gcm@openssh.com"];
  const ours = (extra) => (way, from, to) =>
    json([process.execPath, ...extra, join(tools, "ours.cjs"), ...at, way, from, to]);
  const paramiko = (way, from, to, limit) =>
    json([join(tools, "venv", "bin", "python"), join(here, "paramiko_client.py"), ...at, way, from, to, String(limit)]);
  return new Map([
    ...(existsSync(binding()) ? [["Yale Jobs, ssh2 native", ours([])]] : []),
    ["Yale Jobs, ssh2 plain", ours(["--require", join(here, "no-native.cjs")])],
    [ONE_FILE, (way, from, to) => json([process.execPath, join(here, "ssh2-fast.cjs"), ...at, way, from, to])],
    ["sftp (chacha20, its default)", sftp([])],
    ["sftp (aes128-gcm)", sftp(gcm)],
    ["scp (chacha20, its default)", scp([])],
    ["scp (aes128-gcm)", scp(gcm)],
    ["paramiko", paramiko],
  ]);
}

/** Runs one of OpenSSH's clients, for `limit` seconds at most, and looks at what has arrived. */
async function timed([program, ...args], input, from, to, limit) {
  const begin = performance.now();
  const child = spawn(program, args, { stdio: ["pipe", "ignore", "inherit"] });
  child.stdin.end(input);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGTERM");
  }, limit * 1000);
  const code = await new Promise((done) => child.on("close", done));
  clearTimeout(timer);
  const seconds = (performance.now() - begin) / 1000;
  if (code !== 0 && !late) throw new SetupError(`${program} ended with ${code}.`);
  return { seconds, bytes: late ? arrived(to) : arrived(from), all: !late, files: 0 };
}

function arrived(path) {
  if (!existsSync(path)) return 0;
  if (!statSync(path).isDirectory()) return statSync(path).size;
  return readdirSync(path).reduce((sum, name) => sum + statSync(join(path, name)).size, 0);
}

/** Seconds that sftp takes to connect and do nothing: taken off what OpenSSH's clients need, for the others count none. */
async function connecting(place) {
  const { site, host, port, enter } = place;
  const [program, ...args] = [...enter, "sftp", "-F", "none", "-i", site.key, "-P", String(port), "-q"];
  const rest = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-b", "/dev/null"];
  const all = [];
  for (let i = 0; i < 3; i++) {
    const begin = performance.now();
    await run(program, [...args, ...rest, `${site.user}@${host}`]);
    all.push((performance.now() - begin) / 1000);
  }
  return Math.min(...all);
}

/** All clients in turn, `rounds` times. */
async function measure(place, what, way) {
  const { site } = place;
  const results = new Map();
  const idle = await connecting(place);
  for (let round = 0; round < rounds; round++)
    for (const [name, client] of clients(place)) {
      const many = what === "small";
      if (many && name === ONE_FILE) continue;
      const slow = many && place.far && !name.startsWith("Yale");
      // One capped measurement is enough: it is some hundredfold slower, and always as slow.
      if (slow && round > 0) continue;
      const from = site.path("from", what);
      const to = site.path("to");
      rmSync(to, { recursive: true, force: true });
      const r = await client(way, from, to, slow ? cap : 600);
      if (r.all) await run("diff", ["-rq", from, to]);
      const seconds = r.seconds - (/^s(ftp|cp)/.test(name) ? idle : 0);
      const list = results.get(name) ?? [];
      list.push({ ...r, seconds, rate: r.bytes / MIB / seconds });
      results.set(name, list);
      rmSync(to, { recursive: true, force: true });
    }
  return new Map([...results].map(([name, list]) => [name, summary(list)]));
}

function summary(list) {
  const rates = list.map((r) => r.rate).sort((a, b) => a - b);
  const { cpu, memory, verified, all } = list[0];
  return { rate: rates[Math.floor(rates.length / 2)], min: rates[0], max: rates.at(-1), all, cpu, memory, verified };
}

function table(title, measured) {
  const best = (way, what, pattern) =>
    Math.max(...[...measured.get(`${what} ${way}`)].filter(([n]) => pattern.test(n)).map(([, r]) => r.rate));
  const columns = ["big up", "big down", "small up", "small down"];
  const names = [...measured.get("big up").keys()];
  const lines = [`| ${title} | ${columns.join(" | ")} |`, `| --- |${" ---: |".repeat(columns.length)}`];
  for (const name of names) {
    const cells = columns.map((column) => {
      const r = measured.get(column).get(name);
      if (r === undefined) return "–";
      return `${r.rate.toFixed(r.rate < 10 ? 2 : 0)}${r.all ? "" : " (capped)"}`;
    });
    lines.push(`| ${name} | ${cells.join(" | ")} |`);
  }
  for (const name of names.filter((n) => n.startsWith("Yale")))
    for (const [rival, pattern] of [
      ["the best of OpenSSH", /^s(ftp|cp)/],
      ["paramiko", /^paramiko/],
    ]) {
      const cells = columns.map((column) => {
        const [what, way] = column.split(" ");
        return `${(measured.get(column).get(name).rate / best(way, what, pattern)).toFixed(2)}×`;
      });
      lines.push(`| ${name} ÷ ${rival} | ${cells.join(" | ")} |`);
    }
  return lines.join("\n");
}

await main(async () => {
  const bytes = big * MIB + count * 100 * 1024;
  const site = new Site(bytes);
  const stop = () => site.close().finally(() => process.exit(130));
  process.once("SIGINT", stop).once("SIGTERM", stop);
  const report = {};
  try {
    await step("Tools", makeTools);
    await step("Files", () => site.makeFiles({ big: big * MIB, count, small: 100 * 1024 }));
    site.makeKeys();
    const places = [];
    if (values.only !== "delay") {
      await site.sshd("loopback", "127.0.0.1", 17_390);
      places.push({ title: "loopback, MiB/s", site, host: "127.0.0.1", port: 17_390, enter: [], far: false });
    }
    if (values.only !== "loopback") {
      if (process.getuid() !== 0) throw new SetupError("Only root can make the long way: add `--only loopback`.");
      const way = await site.delay(15, 1000);
      await site.sshd("delay", "10.77.0.2", 22, way.far);
      places.push({ title: "30 ms, 1 Gbit/s, MiB/s", site, host: "10.77.0.2", port: 22, enter: way.near, far: true });
    }
    const tables = [];
    for (const place of places) {
      const measured = new Map();
      for (const what of ["big", "small"])
        for (const way of ["up", "down"])
          await step(`${place.title}: ${what} ${way}`, async () => {
            measured.set(`${what} ${way}`, await measure(place, what, way));
          });
      tables.push(table(place.title, measured));
      report[place.title] = Object.fromEntries([...measured].map(([k, v]) => [k, Object.fromEntries(v)]));
    }
    console.log(
      `\n${machine()}; paramiko ${PARAMIKO}; ${rounds} rounds, medians; files ${site.inMemory ? "in memory" : "on disk"}`,
    );
    console.log(`1 × ${big} MiB, ${count} × 100 KiB; capped: stopped after ${cap} s, the rate of what had arrived\n`);
    console.log(tables.join("\n\n"));
    if (values.json) writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`);
  } finally {
    await site.close();
  }
});
