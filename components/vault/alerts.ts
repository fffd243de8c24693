/** What somebody must hear of. */
import { type Alert, ensembleAlerts, memberAlerts, type Scope } from "../shared/deploy";

/** The active member is the primary. A roll changes it once, which two members show. */
const changesInHalfAnHour = 12;

export function vaultAlerts(scope: Scope): Alert[] {
  const { member } = scope;
  const page = "vault.md#failure-modes";
  return [
    ...memberAlerts(scope),
    // The servers are scraped apart from their agents.
    ...ensembleAlerts(scope, [`vault_core_active{${member}}`]),
    {
      name: "VaultSealed",
      // Not `vault_core_unsealed`, which has a second series with 0 for a day after the server has opened.
      expr: `cells_services_vault_sealed{${member}} == 1`,
      // A restarted member opens in seconds. One that is filled anew opens when it has all data.
      for: "5m",
      severity: "warning",
      summary: "{{ $labels.pod }} stays sealed: the log of its agent says why",
      page,
    },
    {
      name: "VaultMemberRemoved",
      expr: `cells_services_vault_removed{${member}} == 1`,
      // A pod that is to leave ends sooner.
      for: "10m",
      severity: "warning",
      summary: "{{ $labels.pod }} was removed from the cluster and keeps its data",
      page,
    },
    {
      name: "VaultActiveMemberChanges",
      expr: `sum(changes(cells_services_primary{${member}}[30m])) > ${changesInHalfAnHour}`,
      for: "1m",
      severity: "warning",
      summary: "the members take turns as the active one",
      page,
    },
    {
      name: "VaultAuditFails",
      // Vault forgets the counter after a day without requests, and `increase` takes that for a restart.
      expr: `sum(increase(vault_audit_log_request_failure{${member}}[5m])) > 0`,
      for: "1m",
      severity: "critical",
      summary: "Vault cannot record requests, and refuses them",
      page,
    },
  ];
}
