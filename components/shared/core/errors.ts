/** The words of whatever was thrown. Some errors carry their words only in a cause or in a list of errors. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === "") return error.errors.map(messageOf).join("; ");
  if (!(error instanceof Error)) {
    // The events of WebSockets are no errors but have their words in the same place.
    const words = typeof error === "string" ? error : (error as { message?: unknown } | null | undefined)?.message;
    return typeof words === "string" ? words : (JSON.stringify(error) ?? "unknown error");
  }
  const cause = error.cause === undefined ? "" : `: ${messageOf(error.cause)}`;
  return `${error.message === "" ? error.name : error.message}${cause}`;
}
