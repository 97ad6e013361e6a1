/**
 * The program that OpenSSH starts for each question of a login (SSH_ASKPASS): it hands the question to the process that
 * opens the line, over the unix socket that `YALE_JOBS_ASKPASS` names, and prints the answer for ssh to read. So an
 * answer is in no argument, no file and no log. Imports nothing of ours, for it starts many times.
 */
import { createConnection } from "node:net";

const socket = createConnection(process.env["YALE_JOBS_ASKPASS"] ?? "");
let answer = "";
socket.setEncoding("utf8");
// SSH_ASKPASS_PROMPT is `none` where ssh only tells something (touch your key), `confirm` where it wants yes or no.
socket.write(`${JSON.stringify({ text: process.argv[2] ?? "", hint: process.env["SSH_ASKPASS_PROMPT"] ?? "" })}\n`);
socket.on("data", (text: string) => {
  answer += text;
});
socket.on("error", () => process.exit(1));
// Without a whole answer the login was given up.
socket.on("end", () => {
  if (!answer.endsWith("\n")) process.exit(1);
  process.stdout.write(answer, () => process.exit(0));
});
