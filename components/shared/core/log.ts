/** One line on standard output. Never give it a secret. */
export function log(message: string): void {
  process.stdout.write(`${new Date().toISOString()} ${message}\n`);
}

/** Whoever reads what an agent says may not know where it comes from. */
export const help = "what to do: docs/refusals.md of cells-services";
