import type { KubeConfig } from "@kubernetes/client-node";
import { apply, type EnforcedNode, incarnation, isEnforced } from "./enforcement";
import { leanNamespace, leanPod, leanPolicy } from "./objects";
import { type PolicyNode, type Ruleset, ruleset } from "./rules";
import { collect } from "./watch";

/** Events come in bursts (a StatefulSet starts, a namespace goes); this is how long the first waits for the others. */
const gatherMilliseconds = 20;
/** How often the nodes are looked at: has a network namespace come, gone, been replaced; did an attempt fail. */
const lookMilliseconds = 1_000;
/** Every how many looks the kernel is asked whether the table is still there. */
const looksPerProof = 10;

export type ControlledNode = PolicyNode & EnforcedNode;

interface NodeState {
  node: ControlledNode;
  wanted?: Ruleset;
  applied?: { text: string; incarnation: string };
  busy: boolean;
  complaint: string;
}

export interface Controller {
  stop(): void;
}

/** Enforces the cluster's NetworkPolicies on every node until it is stopped; the rules stay when it stops. */
export function startController(config: KubeConfig, nodes: ControlledNode[], say: (line: string) => void): Controller {
  const states = nodes.map((node): NodeState => ({ node, busy: false, complaint: "" }));
  let gathering: NodeJS.Timeout | undefined;
  let looks = 0;
  let stopped = false;

  const complain = (state: NodeState, line: string): void => {
    if (state.complaint !== line) say(`${state.node.name}: ${line}`);
    state.complaint = line;
  };

  const settle = async (state: NodeState): Promise<void> => {
    if (state.busy) return; // The one at work looks again before it ends.
    state.busy = true;
    try {
      while (!stopped && state.wanted !== undefined) {
        const { wanted, node } = state;
        const current = incarnation(node);
        if (current === undefined) {
          delete state.applied;
          complain(state, `waiting for network namespace ${node.networkNamespace}`);
          return;
        }
        if (state.applied?.text === wanted.text && state.applied.incarnation === current) return;
        const since = performance.now();
        await apply(node, wanted.text);
        state.applied = { text: wanted.text, incarnation: current };
        state.complaint = "";
        const milliseconds = Math.round(performance.now() - since);
        say(`${node.name}: ${wanted.pods} pods, ${wanted.isolated} under policies, applied in ${milliseconds} ms`);
      }
    } catch (error) {
      // The next look tries again. What was applied before still stands, or the namespace is gone with its pods.
      delete state.applied;
      complain(state, error instanceof Error ? error.message : String(error));
    } finally {
      state.busy = false;
    }
  };

  const compute = (): void => {
    const current = { pods: pods.items(), namespaces: namespaces.items(), policies: policies.items() };
    // Half a picture would open or close the wrong doors; what an earlier process applied stays until all is known.
    if (current.pods === undefined || current.namespaces === undefined || current.policies === undefined) return;
    for (const state of states) {
      state.wanted = ruleset(
        { pods: current.pods, namespaces: current.namespaces, policies: current.policies },
        state.node,
      );
      void settle(state);
    }
  };

  const changed = (): void => {
    gathering ??= setTimeout(() => {
      gathering = undefined;
      compute();
    }, gatherMilliseconds);
  };

  const prove = async (state: NodeState): Promise<void> => {
    if (state.busy || state.applied === undefined) return;
    const proven = state.applied;
    const enforced = await isEnforced(state.node).catch(() => false);
    if (enforced || state.applied !== proven) return;
    delete state.applied;
    say(`${state.node.name}: the rules are gone, applying them again`);
    await settle(state);
  };

  const look = setInterval(() => {
    looks += 1;
    for (const state of states) {
      void settle(state).then(() => (looks % looksPerProof === 0 ? prove(state) : undefined));
    }
  }, lookMilliseconds);

  const pods = collect(config, "/api/v1/pods", leanPod, changed, say);
  const namespaces = collect(config, "/api/v1/namespaces", leanNamespace, changed, say);
  const policies = collect(config, "/apis/networking.k8s.io/v1/networkpolicies", leanPolicy, changed, say);

  return {
    stop: () => {
      stopped = true;
      clearInterval(look);
      clearTimeout(gathering);
      for (const collection of [pods, namespaces, policies]) collection.stop();
    },
  };
}
