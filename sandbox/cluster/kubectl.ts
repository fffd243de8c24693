import { kubeconfig } from "../paths";
import { run } from "../shell";
import { binary } from "../toolchain";

/** kubectl against the sandbox cluster, never against another one. */
export const kubectl = (...args: string[]): Promise<string> =>
  run(binary("kubernetes", "kubectl"), ["--kubeconfig", kubeconfig, ...args]);

/** Applies objects server-side. */
export const apply = (...objects: object[]): Promise<string> =>
  run(
    binary("kubernetes", "kubectl"),
    ["--kubeconfig", kubeconfig, "apply", "--server-side", "--force-conflicts", "-f", "-"],
    { input: objects.map((object) => JSON.stringify(object)).join("\n---\n") },
  );
