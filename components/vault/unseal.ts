/** Gives the key shares to a server. */
import { type VaultClient, VaultError } from "./client";

/** The process of the server that was given the shares. A restarted agent finds the note on the volume. */
export interface GivenNote {
  read(): Promise<string | undefined>;
  write(server: string): Promise<void>;
  remove(): Promise<void>;
}

/**
 * A member that joins answers before it is unsealed, and unseals once it has the first data. If it is given the shares again meanwhile,
 * Vault unseals twice in one process (1.21: `unsealWithRaft` in its vault/core.go): two loops follow the elections, and one of them
 * stays active after a lost election. So a process is given the shares once. `joining`: undefined for a member that has its data.
 */
export async function giveShares(
  client: Pick<VaultClient, "forgetProgress" | "sealStatus" | "unseal">,
  shares: string[],
  joining: { server: string; note: GivenNote } | undefined,
): Promise<"open" | "at work"> {
  // The observation that led here may be older than the note.
  if (joining !== undefined && (await joining.note.read()) === joining.server) return "at work";
  // Vault would count the shares of an interrupted attempt together with these.
  await client.forgetProgress();
  let state = await client.sealStatus();
  await joining?.note.write(joining.server);
  try {
    // There is one share. A cluster that an earlier release initialised may have several.
    for (const share of shares) {
      if (!state.sealed) break;
      state = await client.unseal(share);
      // Vault has enough shares and has begun to unseal.
      if (state.progress === 0) break;
    }
  } catch (error) {
    // After a refusal the server does not unseal. Without an answer it may.
    if (error instanceof VaultError) await joining?.note.remove();
    throw error;
  }
  return state.sealed ? "at work" : "open";
}
