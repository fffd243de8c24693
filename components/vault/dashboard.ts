/** What one looks at in Vault: what the agents see, and its own metrics. */
import { ensembleRows, graph, memberRows, now, type Row, rate } from "../shared/core/dashboards";
import { podsOf } from "../shared/core/metrics";

export function vaultDashboard(name: string, namespace: string): Row[] {
  const pods = podsOf(name, namespace);
  const { member } = pods;
  // A server that was opened goes on for a day to say 0 of the time before, when it did not know the name of its cluster.
  const ofServer = (metric: string): string => `max by (pod) (${metric}{${member}})`;
  // One that was the active member goes on for a day to say what it knew then.
  const ofActive = (metric: string): string =>
    `${metric}{${member}} and on (pod) ${ofServer("vault_core_active")} == 1`;
  const applied = ofServer("vault_raft_storage_stats_applied_index");
  return [
    ...memberRows(pods),
    {
      title: "Servers",
      panels: [
        now("Answers", "bool_yes_no", { "{{pod}}": `cells_services_vault_up{${member}}` }, { below: 1 }),
        now("Open", "bool_yes_no", { "{{pod}}": ofServer("vault_core_unsealed") }, { below: 1 }),
        now("Members that may be lost", "short", {
          "": `min(${ofActive("vault_autopilot_failure_tolerance")})`,
        }),
      ],
    },
    {
      title: "Consensus",
      panels: [
        graph("Entries behind the first member", "short", { "{{pod}}": `scalar(max(${applied})) - ${applied}` }),
        graph("Commits, the slowest percent", "ms", { "{{pod}}": `vault_raft_commitTime{${member},quantile="0.99"}` }),
      ],
    },
    {
      title: "Requests",
      panels: [
        graph("Requests in flight", "short", { "{{pod}}": ofServer("vault_core_in_flight_requests") }),
        graph("Answers", "ops", {
          "{{type}}": `sum by (type) (${rate(`vault_core_response_status_code{${member}}`)})`,
        }),
        graph("Leases", "short", { "": `max(${ofActive("vault_expire_num_leases")})` }),
        graph("Memory", "bytes", { "{{pod}}": ofServer("vault_runtime_alloc_bytes") }),
      ],
    },
    ...ensembleRows(pods),
  ];
}
