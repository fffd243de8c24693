/** What the pure decisions of all services have in common: an action to take now, or the reason to take none. */

/** Ends when other members act or come back. */
export interface Wait {
  kind: "wait";
  reason: string;
}

/** Needs a person. The agent goes on by itself when the reason is gone. */
export interface Refuse {
  kind: "refuse";
  reason: string;
}

export type DecisionOf<Action> = Action | { kind: "none" } | Wait | Refuse;

export function wait(reason: string): Wait {
  return { kind: "wait", reason };
}

export function refuse(reason: string): Refuse {
  return { kind: "refuse", reason };
}

/** undefined: there is nothing to do now. */
export function actionOf<Action extends { kind: string }>(decision: DecisionOf<Action>): Action | undefined {
  return ["none", "wait", "refuse"].includes(decision.kind) ? undefined : (decision as Action);
}
