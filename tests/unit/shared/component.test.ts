import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, it } from "vitest";
import { EtcdCluster } from "../../../components/etcd";
import { VaultCluster } from "../../../components/vault";
import { vaultForCells } from "../../../stacks/cells";
import { record, redacted } from "../../support/recorder";
import { ensureAgentBundles } from "../../support/stacks";

beforeAll(ensureAgentBundles);

describe("a component with outputs as arguments", () => {
  it("tells the preflight the class of the volumes in the words of the StatefulSet", async () => {
    const graph = await record(() => {
      new EtcdCluster("etcd", { namespace: "cells", storage: { class: pulumi.output("made-by-the-program") } });
    });
    const inputsOf = (type: string, name: string): string =>
      JSON.stringify(graph.byType(type).find((each) => each.name === name)?.inputs);
    expect(inputsOf("kubernetes:batch/v1:Job", "etcd-preflight")).toContain(
      JSON.stringify('"storage":{"size":"8Gi","class":"made-by-the-program"}').slice(1, -1),
    );
    expect(inputsOf("kubernetes:apps/v1:StatefulSet", "etcd")).toContain('"storageClassName":"made-by-the-program"');
  });

  it("refuses those that decide what is created, before anything is", async () => {
    const args = { namespace: "cells", members: pulumi.output(3) as never };
    await expect(record(() => void new EtcdCluster("etcd", args))).rejects.toThrow(
      'etcd "etcd": members must be a plain value, got an Output; it decides what is created',
    );
  });
});

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
