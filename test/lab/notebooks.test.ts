import { join } from "node:path";
import { expect, it } from "vitest";
import { Tab } from "../support/lab.js";
import { withLab } from "../support/lab-hooks.js";
import { copyNotebooks, NOTEBOOKS } from "../support/lessons.js";

const at = withLab((box) => copyNotebooks(join(box.home, "work")));

/** What the notebook that is seen has come to: code cells, those that ran, and what they wrote to standard error. */
function state(tab: Tab): Promise<{ cells: number; ran: number; errors: string }> {
  return tab.page.evaluate(() => {
    interface Cell {
      model: { type: string; executionCount: number | null; sharedModel: { outputs: unknown[] } };
    }
    const app = (window as never as { jupyterapp: { shell: { currentWidget: { content: { widgets: Cell[] } } } } })
      .jupyterapp;
    const cells = app.shell.currentWidget.content.widgets.filter((w) => w.model.type === "code");
    const outputs = cells.flatMap((w) => w.model.sharedModel.outputs) as { name?: string; text?: unknown }[];
    return {
      cells: cells.length,
      ran: cells.filter((w) => w.model.executionCount !== null).length,
      errors: outputs
        .filter((o) => o.name === "stderr")
        .map((o) => String(o.text))
        .join(""),
    };
  });
}

it.each(NOTEBOOKS)("%s runs in a browser as it does without", async (name) => {
  at.tab = await Tab.open(at.context, at.lab, name);
  await at.tab.kernelIdle();
  await at.tab.command("notebook:clear-all-cell-outputs");
  expect((await state(at.tab)).ran).toBe(0);
  await at.tab.command("notebook:run-all-cells");
  await expect
    .poll(async () => state(at.tab), { timeout: 100_000, interval: 200 })
    .toSatisfy(({ cells, ran, errors }) => {
      if (errors !== "") throw new Error(errors);
      return cells > 0 && ran === cells;
    });
  await at.tab.kernelIdle();
  await at.tab.picture(`lesson-${name.replace(".ipynb", "")}`);
  await at.tab.page.close();
});
