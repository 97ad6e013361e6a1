/** The login card of a notebook: what a cluster asks while a cell waits for it, how it is answered, what came of it. */
import { inKernel, type LiveDisplay, type LoginState, loginBundle, showInKernel } from "../display/index.js";
import { type Attend, followLogin } from "./login.js";

/** Milliseconds between two steps of the time left. */
const TICK = 1000;

interface Card {
  state: LoginState;
  display: LiveDisplay;
}

/**
 * Shows a card for each cluster that asks, under the cell that waits for it. tslab runs one cell at a time and has no
 * input of its own, so a cell can't take the answer: the card says where it can be given. Outside a notebook nothing.
 */
export const showLogin: Attend = async (core, concerns, signal) => {
  if (!inKernel()) return;
  const cards = new Map<string, Card>();
  const show = (state: LoginState) => {
    const card = cards.get(state.cluster);
    if (card !== undefined) {
      card.state = state;
      card.display.update(loginBundle(state));
    } else if (state.prompt !== undefined || state.connection?.state === "login_needed") {
      // What opens without a question needs no card.
      const display = showInKernel(loginBundle(state));
      if (display !== undefined) cards.set(state.cluster, { state, display });
    }
  };
  const ticks = setInterval(() => {
    for (const { state } of cards.values()) if (state.prompt !== undefined) show(state);
  }, TICK);
  try {
    for await (const { cluster, connection, prompt } of followLogin(core, concerns, signal))
      show({
        cluster,
        ...(connection === undefined ? {} : { connection }),
        ...(prompt === undefined ? {} : { prompt }),
      });
    // What was waited for may have ended before the last event came.
    if (cards.size > 0)
      for (const connection of await core.connections()) show({ cluster: connection.cluster, connection });
  } finally {
    clearInterval(ticks);
    for (const { display } of cards.values()) display.close();
  }
};
