import { scopeOf } from "../../../components/shared/deploy/alerts";
import { resolveVault } from "../../../components/vault";
import { vaultAlerts } from "../../../components/vault/alerts";
import { allSeries, describeAlerts, ofEnsemble, ofMembers, type Series, type Story } from "../../support/promtool";

const resolved = resolveVault("vault", { namespace: "cells", seal: { type: "shamir" } });
const scope = scopeOf(resolved, "cells");
const common = [ofMembers(scope), ofEnsemble(scope, "vault-0")];
const of = (member: number, metric: string, values: string): Series => ({
  [`${metric}{namespace="cells",pod="vault-${member}"}`]: values,
});
const healthy = [0, 1, 2].map((member) => ({
  ...of(member, "cells_services_vault_sealed", "0x1000"),
  ...of(member, "cells_services_vault_removed", "0x1000"),
  ...of(member, "vault_core_active", "0x1000"),
}));
const failures = "vault_audit_log_request_failure";

const stories: Story[] = [
  {
    title: "a member stays sealed",
    series: of(1, "cells_services_vault_sealed", "0x5 1x20 0x60"),
    firing: { "8m": [], "15m": ["VaultSealed"], "40m": [] },
  },
  {
    title: "agents are scraped, and servers are not",
    series: allSeries(...[0, 1, 2].map((member) => of(member, "vault_core_active", "0x10 _x120 0x100"))),
    firing: { "60m": [], "100m": ["VaultNotWatched"], "200m": [] },
  },
  {
    title: "a member was removed",
    series: of(1, "cells_services_vault_removed", "0x5 1x30 0x60"),
    firing: { "10m": [], "20m": ["VaultMemberRemoved"], "60m": [] },
  },
  {
    title: "a member that is to leave is removed, and its pod ends",
    series: of(3, "cells_services_vault_removed", "0x5 1x5 stale"),
    firing: { "9m": [], "30m": [] },
  },
  {
    title: "members take turns as the active one",
    series: {
      ...of(0, "cells_services_primary", `1x5 ${"0 1 ".repeat(10)}1x100`),
      ...of(1, "cells_services_primary", `0x5 ${"1 0 ".repeat(10)}0x100`),
    },
    firing: { "10m": [], "20m": ["VaultActiveMemberChanges"], "80m": [] },
  },
  {
    title: "a roll replaces the members, the active one last",
    series: {
      ...of(0, "cells_services_primary", "1x15 _x2 0x60"),
      ...of(1, "cells_services_primary", "0x10 _x2 0 0 1x60"),
      ...of(2, "cells_services_primary", "0x5 _x2 0x60"),
      ...of(1, "cells_services_vault_sealed", "0x10 _x2 1 0x60"),
    },
    firing: { "20m": [], "40m": [] },
  },
  {
    title: "requests cannot be recorded",
    series: of(0, failures, "0x10 1+5x10 51x60"),
    firing: { "10m": [], "18m": ["VaultAuditFails"], "50m": [] },
  },
  {
    title: "Vault forgets its counters, which it does after a day without requests",
    series: of(0, failures, "0x10 _x10 0x60"),
    firing: { "15m": [], "40m": [] },
  },
];

describeAlerts(
  vaultAlerts(scope),
  scope,
  allSeries(...healthy, of(0, failures, "0x1000"), ...common.map((each) => each.healthy)),
  [...common.flatMap((each) => each.stories), ...stories],
);
