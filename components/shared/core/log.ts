/** Variable of the environment: with `json` each line is an object. */
export const logFormat = "LOG_FORMAT";

/** One line on standard output. Never give it a secret. */
export function log(message: string): void {
  const time = new Date().toISOString();
  const line = process.env[logFormat] === "json" ? JSON.stringify({ time, message }) : `${time} ${message}`;
  process.stdout.write(`${line}\n`);
}

/** Whoever reads what an agent says may not know where it comes from. */
export const help = "what to do: docs/refusals.md of cells-services";
