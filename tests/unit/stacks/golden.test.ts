/**
 * Compares each environment with its committed graph. After a wanted change: `npm run golden -- --update`, and read the
 * diff of tests/golden before committing it.
 */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { goldenText } from "../../golden/graph";
import { recordStack, stackNames } from "../../support/stacks";

const folder = join(__dirname, "..", "..", "golden");

describe.each(stackNames)("the golden graph of %s", (stack) => {
  it("is the committed one", async () => {
    const text = goldenText(await recordStack(stack));
    await expect(text).toMatchFileSnapshot(join(folder, `${stack}.json`));
  });

  it("is the same in each run", async () => {
    const [first, second] = [await recordStack(stack), await recordStack(stack)];
    expect(goldenText(second)).toBe(goldenText(first));
  });

  it("has the same resources in a preview", async () => {
    const urns = async (preview: boolean) =>
      (await recordStack(stack, { preview })).resources.map((each) => each.urn).sort();
    expect(await urns(true)).toEqual(await urns(false));
  });
});
