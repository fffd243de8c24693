/** Until the server of a member may start, and beside the server: what the agents of several services do in the same way. */
import { messageOf } from "../core/errors";
import { log } from "../core/log";
import type { MarkerAnswer } from "../core/marker";
import type { EnsembleSettings } from "../core/settings";
import { type Attempt, waitFor } from "../core/wait";
import { askMarker } from "./guard";
import { impatient, inClusterApi } from "./kubernetes";
import { type Pod, readPod, readSettings } from "./main";
import { runSidecar, type Sidecar } from "./sidecar";

/** How long a member waits for what may pass before its container ends and the kubelet starts it again with a back-off. */
const startDeadlineSeconds = 300;

/**
 * Decides until the server of `member` may start, and returns that decision. `act` does what another decision asks for,
 * and may fail, as when too few members answer.
 */
export function waitForStart<Decision extends { kind: string; reason: string }>(
  member: string,
  decide: () => Promise<Decision>,
  {
    act = async () => undefined,
    intervalSeconds = 5,
  }: { act?: (decision: Decision) => Promise<void>; intervalSeconds?: number } = {},
): Promise<Extract<Decision, { kind: "start" }>> {
  type Start = Extract<Decision, { kind: "start" }>;
  const attempt = async (): Promise<Attempt<Start>> => {
    const decision = await decide();
    log(`decision: ${decision.kind}: ${decision.reason}`);
    if (decision.kind === "start") return { done: decision as Start };
    return { waiting: await act(decision).then(() => decision.reason, messageOf) };
  };
  return waitFor(`a safe way to start ${member}`, attempt, { deadlineSeconds: startDeadlineSeconds, intervalSeconds });
}

/** The command `sidecar` of an agent. `ask` reads the marker, and gives up soon when the Kubernetes API is away. */
export async function sidecarCommand<Observed, Action>(
  create: (settings: EnsembleSettings, pod: Pod, ask: () => Promise<MarkerAnswer>) => Sidecar<Observed, Action>,
): Promise<void> {
  const settings = readSettings<EnsembleSettings>();
  const pod = readPod();
  const sidecar = create(settings, pod, () => askMarker(settings, pod.namespace, inClusterApi(impatient)));
  return runSidecar(sidecar, settings, pod);
}
