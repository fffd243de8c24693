import { expect, it } from "vitest";
import { readAgentBundle } from "../../../components/shared/deploy";

it("says what to do when there is no bundle of the agent", () => {
  const load = (): unknown => require("../../../dist/agents/none.json");
  expect(() => readAgentBundle("etcd", load)).toThrow(
    "the agent bundle of etcd is missing: the package cells-services has no file dist/agents/etcd.json; " +
      'in a checkout of its sources run "npm run build", elsewhere install the package again',
  );
});

it("says what is wrong with a bundle that cannot be read", () => {
  const load = (): unknown => JSON.parse("{");
  expect(() => readAgentBundle("etcd", load)).toThrow(SyntaxError);
});
