/**
 * The channels for files of one connection, opened when they are first used. Where the far side allows few sessions they
 * share one, and one with nothing open in it is given up for a command that waits; the next call opens it anew.
 */
import { NoSession, type Sessions } from "./sessions.js";
import type { SftpChannel } from "./ssh-sftp.js";
import type { FileHandle, Sftp } from "./transport.js";

/** Channels that carry files at once: each has a window of 2 MiB, which is what a round trip can carry. */
const CHANNELS = 4;
/** Sessions that commands must be left. */
const FOR_COMMANDS = 2;

interface Slot {
  channel: Promise<SftpChannel>;
  /** Calls in flight and files that are open. */
  used: number;
  /** Once it is open. */
  open?: SftpChannel;
}

/** The channels of one connection. `start` opens one; its place is given back by `release` when it is gone. */
export class SftpPool {
  readonly #sessions: Sessions;
  readonly #start: (onGone: () => void) => Promise<SftpChannel>;
  readonly #slots = new Map<number, Slot>();

  constructor(sessions: Sessions, start: (onGone: () => void) => Promise<SftpChannel>) {
    this.#sessions = sessions;
    this.#start = start;
    sessions.keep({ rest: () => this.#rest() });
  }

  /** Files by channel `n`, which is opened if it is not; throws what opening throws. */
  async sftp(n: number): Promise<Sftp> {
    await this.#use(n, async () => undefined);
    const by =
      <A extends unknown[], R>(call: (channel: SftpChannel, ...args: A) => Promise<R>) =>
      (...args: A): Promise<R> =>
        this.#use(n, (channel) => call(channel, ...args));
    return {
      open: (path, flags) =>
        this.#use(n, async (channel, slot) => {
          const handle = await channel.open(path, flags);
          slot.used += 1;
          return this.#counted(handle, slot);
        }),
      stat: by((c, path, options) => c.stat(path, options)),
      readdir: by((c, path) => c.readdir(path)),
      mkdir: by((c, path, mode) => c.mkdir(path, mode)),
      rename: by((c, from, to) => c.rename(from, to)),
      unlink: by((c, path) => c.unlink(path)),
      rmdir: by((c, path) => c.rmdir(path)),
      symlink: by((c, target, path) => c.symlink(target, path)),
      readlink: by((c, path) => c.readlink(path)),
      realpath: by((c, path) => c.realpath(path)),
      chmod: by((c, path, mode) => c.chmod(path, mode)),
      free: by((c, path) => c.free(path)),
    };
  }

  #counted(handle: FileHandle, slot: Slot): FileHandle {
    let open = true;
    return {
      read: (length, position) => handle.read(length, position),
      write: (data, position) => handle.write(data, position),
      sync: () => handle.sync(),
      close: async () => {
        if (open) this.#leave(slot);
        open = false;
        await handle.close();
      },
    };
  }

  async #use<T>(n: number, work: (channel: SftpChannel, slot: Slot) => Promise<T>): Promise<T> {
    const slot = this.#slot(n);
    slot.used += 1;
    try {
      return await work(await slot.channel, slot);
    } catch (error) {
      if (error instanceof NoSession) return await this.#use(0, work);
      throw error;
    } finally {
      this.#leave(slot);
    }
  }

  #leave(slot: Slot): void {
    slot.used -= 1;
    if (slot.used === 0) this.#sessions.rested();
  }

  #slot(n: number): Slot {
    const shared = Math.max(1, Math.min(CHANNELS, this.#sessions.limit - FOR_COMMANDS));
    const at = n % shared;
    const found = this.#slots.get(at);
    if (found !== undefined && found.open?.gone === undefined) return found;
    const slot: Slot = { used: 0, channel: this.#open(at) };
    this.#slots.set(at, slot);
    slot.channel.then(
      (channel) => {
        slot.open = channel;
      },
      () => {
        if (this.#slots.get(at) === slot) this.#slots.delete(at);
      },
    );
    return slot;
  }

  async #open(at: number): Promise<SftpChannel> {
    let give: () => void = () => undefined;
    let gone = false;
    const { session, release } = await this.#sessions.open(
      () =>
        this.#start(() => {
          gone = true;
          give();
        }),
      // The first is waited for; further ones are for speed only.
      { lasting: true, wait: at === 0 },
    );
    give = release;
    if (gone) release();
    return session;
  }

  #rest(): boolean {
    for (const [at, slot] of this.#slots) {
      if (slot.used > 0 || slot.open === undefined) continue;
      this.#slots.delete(at);
      slot.open.end();
      return true;
    }
    return false;
  }
}
