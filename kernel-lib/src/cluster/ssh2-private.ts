/**
 * The only place that touches what ssh2 keeps to itself, in version 1.17.0, and what for. A test holds that it is there;
 * where it is gone, opening a line says so.
 */
import { randomFillSync } from "node:crypto";
import type { Client, ClientChannel, SFTPWrapper } from "ssh2";
import { YaleError } from "../errors.js";

type Handler = (protocol: unknown, ...rest: never[]) => void;

interface Internals {
  _protocol?: {
    _handlers?: { USERAUTH_FAILURE?: Handler; USERAUTH_INFO_REQUEST?: Handler };
    signal?(channel: number, name: string): void;
    _cipher?: Cipher;
  };
  _resetKA?(): void;
}

/** What encrypts the packets that go out; each exchange of keys makes a new one. */
interface Cipher {
  allocPacket?(length: number): Buffer;
}

/**
 * Bytes that ssh2's ciphers of AES-GCM keep after a packet for its tag: the one of the compiled binding makes it in place,
 * the one of Node's own crypto by itself.
 */
const TAG: Readonly<Record<string, number>> = { AESGCMCipherBinding: 16, AESGCMCipherNative: 0 };
/** Random bytes for the padding of some hundred packets. */
const PADDING = 8 << 10;

/** What {@link watchLogin} tells of. */
export interface LoginWatch {
  /** A method was refused, or was one of several; `left` can go on. */
  failure(left: readonly string[], partial: boolean): void;
  /** A round of keyboard-interactive begins, also one that asks nothing. */
  round(name: string, instructions: string, prompts: number): void;
}

/**
 * Listens to the login of a client on which `connect` was called. For keys of an agent ssh2 keeps the server's answer to
 * itself and calls its `authHandler` with the one before (its pull request 1215), so that a second factor behind such a
 * key is never reached; and it answers rounds without prompts itself, with what they say. Throws YaleError.
 */
export function watchLogin(client: Client, watch: LoginWatch): void {
  const handlers = (client as unknown as Internals)._protocol?._handlers;
  const { USERAUTH_FAILURE: failure, USERAUTH_INFO_REQUEST: round } = handlers ?? {};
  if (handlers === undefined || failure === undefined || round === undefined) throw changed();
  handlers.USERAUTH_FAILURE = (protocol: unknown, left: readonly string[], partial: boolean) => {
    watch.failure(left, partial);
    (failure as (...all: unknown[]) => void)(protocol, left, partial);
  };
  handlers.USERAUTH_INFO_REQUEST = (protocol: unknown, name: string, instructions: string, prompts: unknown) => {
    watch.round(name, instructions, Array.isArray(prompts) ? prompts.length : 0);
    (round as (...all: unknown[]) => void)(protocol, name, instructions, prompts);
  };
}

/**
 * Sends a signal to what runs in a channel (RFC 4254, 6.9; OpenSSH's sshd since 7.9 gives it to the process group). The
 * public call sends nothing once the channel's input has ended. To a channel that both sides have closed nothing may be
 * sent: sshd ends the whole line over it.
 */
export function signalChannel(client: Client, channel: ClientChannel, name: "KILL"): void {
  const { id, state } = (channel as unknown as { outgoing?: { id?: number; state?: string } }).outgoing ?? {};
  const protocol = (client as unknown as Internals)._protocol;
  if (state === "closing" || state === "closed") return;
  if (id === undefined || state === undefined || protocol?.signal === undefined) throw changed();
  protocol.signal(id, name);
}

/**
 * Starts the count of keepalives anew: something has come from the far side. ssh2 counts only answers to its own
 * questions, which on a slow line stand in the queue behind megabytes of an upload.
 */
export function stillAlive(client: Client): void {
  const internals = client as unknown as Internals;
  if (internals._resetKA === undefined) throw changed();
  internals._resetKA();
}

/**
 * Takes the random padding of packets (RFC 4253, section 6) from a store, for AES-GCM: ssh2 asks the system for it packet
 * by packet, which takes a tenth of the time of a transfer. Call it once, when the client is ready.
 */
export function storePadding(client: Client): void {
  const protocol = (client as unknown as Internals)._protocol;
  if (protocol?._cipher?.allocPacket === undefined) throw changed();
  const store = Buffer.allocUnsafeSlow(PADDING);
  let left = 0;
  const equip = (cipher: Cipher | undefined): Cipher | undefined => {
    const tag = TAG[cipher?.constructor.name ?? ""];
    if (cipher === undefined || tag === undefined) return cipher;
    cipher.allocPacket = (length) => {
      // The length of the padding and of the payload, and at least four bytes of padding, fill blocks of 16.
      let padding = 16 - ((1 + length) & 15);
      if (padding < 4) padding += 16;
      const size = 1 + length + padding;
      const packet = Buffer.allocUnsafe(4 + size + tag);
      packet.writeUInt32BE(size, 0);
      packet[4] = padding;
      if (left < padding) {
        randomFillSync(store);
        left = PADDING;
      }
      left -= padding;
      packet.set(store.subarray(left, left + padding), 5 + length);
      return packet;
    };
    return cipher;
  };
  let cipher = equip(protocol._cipher);
  Object.defineProperty(protocol, "_cipher", {
    get: () => cipher,
    set: (next: Cipher | undefined) => {
      cipher = equip(next);
    },
  });
}

/** The longest packet of SFTP that ssh2 takes is 256 KiB; a kibibyte of it is left for what stands before the bytes. */
const LONGEST = 255 << 10;

/**
 * Bytes that one request may read or write: what the server tells (`limits@openssh.com`) or ssh2 takes it for, and no more
 * than ssh2 takes itself. A request longer than the first ssh2 cuts, and asks for the next part only when the one before
 * is answered; an answer longer than the last ends the channel.
 */
export function sftpLimits(sftp: SFTPWrapper): { read: number; write: number } {
  const { _maxReadLen: read, _maxWriteLen: write } = sftp as unknown as { _maxReadLen?: number; _maxWriteLen?: number };
  if (read === undefined || write === undefined) throw changed();
  return { read: Math.min(read, LONGEST), write: Math.min(write, LONGEST) };
}

function changed(): YaleError {
  return new YaleError(
    "internal",
    "The installed version of ssh2 lacks what Yale Jobs needs of version 1.17.0.",
    "Install Yale Jobs anew, with the versions of its lockfile, or write `transport: openssh` in config.yaml.",
  );
}
