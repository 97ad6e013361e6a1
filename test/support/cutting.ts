/** A line whose bytes are counted as they go over it, and whose far end is killed at a chosen one of them. */
import type { FileHandle, Sftp, Transport } from "../../kernel-lib/src/cluster/transport.js";

/** What {@link watched} tells and does. */
export interface Watched extends Transport {
  /** Bytes of files written or read, by SFTP or through a command; with what commands say, some kilobytes. */
  readonly moved: number;
  /** Commands that were run. */
  readonly commands: number;
}

/** What happens on the way. */
export interface Events {
  /** Called once, when so many bytes have been handed to the line. */
  at?: { bytes: number; run: () => void };
  /** Called before a rename, with its paths; after it if `late`. */
  rename?: { run: (from: string, to: string) => void; late?: boolean };
}

/** Watches a transport. */
export function watched(line: Transport, events: Events = {}): Watched {
  let moved = 0;
  let commands = 0;
  const count = (bytes: number) => {
    const before = moved;
    moved += bytes;
    const { at } = events;
    if (at !== undefined && before < at.bytes && moved >= at.bytes) at.run();
  };
  const handle = (h: FileHandle): FileHandle => ({
    async read(length, position) {
      const data = await h.read(length, position);
      count(data.length);
      return data;
    },
    write(data, position) {
      const written = h.write(data, position);
      count(data.length);
      return written;
    },
    sync: () => h.sync(),
    close: () => h.close(),
  });
  return {
    ...line,
    kind: line.kind,
    asked: line.asked,
    lost: line.lost,
    close: () => line.close(),
    get moved() {
      return moved;
    },
    get commands() {
      return commands;
    },
    async sftp(channel): Promise<Sftp> {
      const sftp = await line.sftp(channel);
      return {
        ...sftp,
        open: async (path, flags) => handle(await sftp.open(path, flags)),
        async rename(from, to) {
          if (events.rename?.late !== true) events.rename?.run(from, to);
          await sftp.rename(from, to);
          if (events.rename?.late === true) events.rename.run(from, to);
        },
      };
    },
    exec(argv, options = {}) {
      commands += 1;
      const { input, onStdout } = options;
      const streamed = typeof input === "object" && !(input instanceof Uint8Array) ? input : undefined;
      async function* counted(source: AsyncIterable<Uint8Array>) {
        for await (const chunk of source) {
          yield chunk;
          count(chunk.length);
        }
      }
      return line.exec(argv, {
        ...options,
        ...(streamed === undefined ? {} : { input: counted(streamed) }),
        ...(onStdout === undefined
          ? {}
          : {
              onStdout: (chunk: Uint8Array) => {
                onStdout(chunk);
                count(chunk.length);
              },
            }),
      });
    },
  };
}
