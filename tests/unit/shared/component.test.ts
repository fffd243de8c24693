import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, it } from "vitest";
import { EtcdCluster } from "../../../components/etcd";
import { VaultCluster } from "../../../components/vault";
import { vaultForCells } from "../../../stacks/cells";
import { record, redacted } from "../../support/recorder";
import { ensureAgentBundles } from "../../support/stacks";

beforeAll(ensureAgentBundles);

describe("an application of a component", () => {
  const args = { namespace: "cells", applications: ["cells"] };

  it("has a password, which is a secret and that of its Secret", async () => {
    const { outputs } = await record(() => {
      const { password } = new EtcdCluster("etcd", args).application("cells");
      return {
        password,
        // Nothing but the length is let out.
        length: pulumi.unsecret(pulumi.output(password).apply((known) => known?.length)),
      };
    });
    expect(outputs).toEqual({ password: redacted, length: 32 });
  });

  it("has none that Pulumi knows where the cluster makes it", async () => {
    const { outputs } = await record(() => ({
      isKnown:
        new VaultCluster("vault", { ...args, ...vaultForCells, seal: { type: "shamir" } }).application("cells")
          .password !== undefined,
    }));
    expect(outputs).toEqual({ isKnown: false });
  });
});
