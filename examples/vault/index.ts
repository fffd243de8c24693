/** Vault for development: 3 members, the key that opens them in a Secret, one mount and a token for one application. */
import { VaultCluster } from "../../components/vault";
import { exampleNamespace } from "../namespace";

const namespace = exampleNamespace("example-vault");
const vault = new VaultCluster("vault", {
  namespace: namespace.metadata.name,
  seal: { type: "shamir" },
  mounts: { secret: {} },
  applications: ["shop"],
  policies: { shop: [{ path: "secret/data/shop/*", capabilities: ["create", "read", "update"] }] },
  deletion: "delete",
});

export const { url, certificateAuthority } = vault;
export const { secret } = vault.application("shop");
/** For `checks/cli.ts`. */
export const checks = [vault.checkTarget];
