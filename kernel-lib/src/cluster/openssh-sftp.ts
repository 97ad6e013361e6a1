/**
 * ssh2's SFTP client over the standard input and output of `ssh -s … sftp`. It is the same client that the line of ssh2
 * uses, but the class is no part of ssh2's public interface (ssh2/lib/protocol/SFTP.js): its version is pinned, what is
 * used of it is checked here, and test/cluster/transports.test.ts runs over it.
 */
import type { Readable, Writable } from "node:stream";
import type { SFTPWrapper } from "ssh2";
import { ConnectionError } from "../errors.js";

/** What ssh2's SFTP class needs of a connection: the channel's way out, and the server's name. */
interface Connection {
  _protocol: {
    _remoteIdentRaw: Buffer;
    channelData(id: number, data: Uint8Array): void;
    channelWindowAdjust(): void;
    channelEOF(): void;
    channelClose(): void;
  };
  _chanMgr: { remove(): void };
}

interface Side {
  id: number;
  window: number;
  packetSize: number;
  state: "open";
}

/** ssh2's class, as far as it is used. */
interface Sftp extends SFTPWrapper {
  push(data: Buffer | null): void;
  _init(): void;
}

type SftpClass = new (
  connection: Connection,
  channel: { type: "sftp"; incoming: Side; outgoing: Side },
  options: object,
) => Sftp;

/** Opens it: resolves when the server has said its version. Throws ConnectionError. */
export async function sftpOverStreams(from: Readable, to: Writable): Promise<SFTPWrapper> {
  const { SFTP } = (await import("ssh2/lib/protocol/SFTP.js")) as { SFTP?: SftpClass };
  if (typeof SFTP?.prototype.push !== "function" || typeof SFTP.prototype._init !== "function")
    throw new ConnectionError(
      "The installed ssh2 has another SFTP client than the one that this version was made for.",
      "Install the version of ssh2 that package.json names.",
    );
  // ssh keeps its own windows; what is in flight is bounded by the requests that the caller has open.
  const side = (): Side => ({
    id: 0,
    window: Number.POSITIVE_INFINITY,
    packetSize: Number.POSITIVE_INFINITY,
    state: "open",
  });
  const connection: Connection = {
    _protocol: {
      // The limits of OpenSSH's server hold until it says its own.
      _remoteIdentRaw: Buffer.from("SSH-2.0-OpenSSH"),
      channelData: (_id, data) => void to.write(data),
      channelWindowAdjust: () => undefined,
      channelEOF: () => void to.end(),
      channelClose: () => void to.end(),
    },
    _chanMgr: { remove: () => undefined },
  };
  const sftp = new SFTP(connection, { type: "sftp", incoming: side(), outgoing: side() }, {});
  to.on("error", () => undefined);
  from.on("data", (data: Buffer) => sftp.push(data));
  from.on("close", () => {
    sftp.push(null);
    sftp.emit("close");
  });
  return new Promise((resolve, reject) => {
    const closed = () =>
      reject(new ConnectionError("The far side ended the channel for files.", "Is its SFTP server turned on?"));
    from.once("close", closed);
    sftp.once("error", (cause: Error) =>
      reject(new ConnectionError(`The channel for files could not be opened: ${cause.message}.`, "", { cause })),
    );
    sftp.once("ready", () => {
      from.off("close", closed);
      resolve(sftp);
    });
    sftp._init();
  });
}
