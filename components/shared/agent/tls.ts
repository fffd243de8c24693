/** How TLS between the members is switched on or off: what the preflight does before the roll stops all of them at once. */
import { log } from "../core/log";
import { type Marker, peerTls } from "../core/marker";
import { memberNames } from "../core/names";
import type { EnsembleSettings, PreflightSettings } from "../core/settings";
import { awaitWhole, type Members } from "./roll";

/**
 * Makes the members, which all run as `living` says, able to find each other again when all of them start as `wanted`
 * says, and still as `living` says. It may be killed at any point and is then called again.
 */
export type PrepareTls = (living: EnsembleSettings, wanted: EnsembleSettings, namespace: string) => Promise<void>;

interface TlsChange extends Members {
  settings: PreflightSettings;
  /** `formedTls`: the setting with which a setup last saw the cluster formed. */
  known: { tls: Marker["tls"]; formedTls: string };
  prepare: PrepareTls | undefined;
  /** Writes TLS of `settings` to the marker. */
  record: () => Promise<void>;
}

/**
 * Switching back before a setup has seen the new setting does not require whole members: they are prepared for both
 * settings, and perhaps only the former template can start them.
 */
export async function switchTls(change: TlsChange, deadlineSeconds?: number): Promise<void> {
  const { settings, known, namespace, prepare, record } = change;
  if (known.formedTls === known.tls) {
    const living: PreflightSettings = { ...settings, tls: known.tls === "on" ? "required" : "off" };
    const members = memberNames(settings.name, settings.members);
    await awaitWhole("before all of them stop", members, { ...change, settings: living }, deadlineSeconds);
    await prepare?.(living, settings, namespace);
  }
  await record();
  log(`TLS between the members was ${known.tls}, and is to be ${peerTls(settings.tls)}`);
}
