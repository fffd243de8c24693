/** Variable of the environment: with `json` each line is an object. */
export const logFormat = "LOG_FORMAT";

/** One line on standard output. Never give it a secret. */
export function log(message: string): void {
  const time = new Date().toISOString();
  const line = process.env[logFormat] === "json" ? JSON.stringify({ time, message }) : `${time} ${message}`;
  process.stdout.write(`${line}\n`);
}

/** Logs an error unless it was the last one too: each pass observes and decides anew, and fails for the same reason again. */
export function newsOf(what: string): (error: unknown) => void {
  let last = "";
  return (error) => {
    const message = error === undefined ? "" : (error as Error).message;
    if (message !== last && message !== "") log(`${what}: ${message}`);
    last = message;
  };
}

/** Whoever reads what an agent says may not know where it comes from. */
export const help = "what to do: docs/refusals.md of cells-services";
