import type { DrillReport } from "../../../drills/drill";

/** What a drill of etcd that passed has shown. */
export const passedDrill: DrillReport = {
  drill: "leader-kill",
  service: "etcd",
  name: "etcd",
  result: "passed",
  reasons: [],
  notes: [],
  victim: "etcd-1",
  fault: "process 10 killed, runs again as 12 in the same pod",
  budgetSeconds: 5,
  leaderBefore: "etcd-1 (term 2)",
  leaderAfter: "etcd-0 (term 3)",
  acknowledged: 1234,
  refused: 0,
  unknown: 7,
  lost: {},
  lostWrites: 0,
  gapSeconds: 1.876,
  baselineSeconds: 0.0312,
  recoveredSeconds: 3.21,
  recoveryBudgetSeconds: 120,
  timeline: undefined,
};
