/**
 * zeromq refuses to send on and to read from a socket whose bind is under way (EBUSY, zeromq.js 6). tslab 1.0.22 reads
 * its sockets while it binds them: on a busy machine a request can come in that early, and then tslab's answer fails, or
 * its loop that reads requests ends, and the kernel answers no more.
 */

/** The part of a socket of zeromq that is of use here. */
interface Socket {
  readonly closed: boolean;
  bind(address: string): Promise<void>;
  receive(): Promise<Buffer[]>;
}

/** zeromq, as tslab loads it: the kinds of its sockets that tslab makes. */
export type Sockets = { [kind in "Publisher" | "Router" | "Reply"]: { prototype: Socket } };

/** Lets no socket be read while one waits for its bind. */
export function bindFirst({ Publisher, Router, Reply }: Sockets): void {
  const pending = new Set<Promise<void>>();
  for (const { prototype } of [Publisher, Router, Reply]) {
    const { bind, receive } = prototype;
    // Defined, not assigned: both are read-only in the class that all kinds share.
    Object.defineProperties(prototype, {
      bind: {
        value(this: Socket, address: string) {
          const bound = bind.call(this, address);
          pending.add(bound);
          const done = () => pending.delete(bound);
          bound.then(done, done);
          return bound;
        },
      },
      receive: {
        async value(this: Socket) {
          // tslab begins to read a step before it begins to bind.
          await Promise.resolve();
          // A bind that fails is tslab's to tell.
          while (pending.size > 0) await Promise.allSettled(pending);
          // As a socket that is closed while it waits for a message: its reader ends in peace.
          if (this.closed) throw Object.assign(new Error("The socket was closed."), { code: "EAGAIN" });
          return receive.call(this);
        },
      },
    });
  }
}
