import { expect, it } from "vitest";
import { Preamble } from "../../kernel-lib/src/cluster/preamble.js";

const MARK = "0123456789abcdef";

it.each([1, 3, 7, 1000])("finds the mark in pieces of %s bytes and passes on what follows", (size) => {
  const all = Buffer.from(`Welcome\n0123456789ab${MARK}out ${MARK} put`);
  const stream = new Preamble(MARK);
  const parts: Buffer[] = [];
  for (let at = 0; at < all.length; at += size) parts.push(stream.push(all.subarray(at, at + size)));
  expect(Buffer.concat(parts).toString()).toBe(`out ${MARK} put`);
  expect(stream.rest()).toHaveLength(0);
});

it("keeps what was said where no command began, but not all of a flood", () => {
  const stream = new Preamble(MARK);
  expect(stream.push(Buffer.from("This account is closed.\n"))).toHaveLength(0);
  expect(stream.rest().toString()).toBe("This account is closed.\n");
  for (let i = 0; i < 100; i++) stream.push(Buffer.alloc(10_000));
  expect(stream.rest().length).toBeLessThanOrEqual(64 << 10);
  expect(stream.push(Buffer.from(`${MARK}late`)).toString()).toBe("late");
});
