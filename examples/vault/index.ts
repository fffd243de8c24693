/** Vault for development: 3 members, the key that opens them in a Secret, one mount and a token for one application. */
import { VaultCluster } from "cells-services/vault";
import { exampleNamespace } from "../namespace";

const { namespace, provider } = exampleNamespace("example-vault");
const vault = new VaultCluster(
  "vault",
  {
    namespace: namespace.metadata.name,
    seal: { type: "shamir" },
    mounts: { secret: {} },
    applications: ["shop"],
    policies: { shop: [{ path: "secret/data/shop/*", capabilities: ["create", "read", "update"] }] },
    deletion: "delete",
  },
  { provider },
);

export const { url, certificateAuthority } = vault;
export const { secret } = vault.application("shop");
/** For `npx cells-services check`. */
export const checks = [vault.checkTarget];
