/** Gives the key shares to a server. */
import { readNote, removeNote, writeNote } from "../shared/agent/files";
import { type VaultClient, VaultError } from "./client";

/**
 * A member that joins answers before it is unsealed, and unseals once it has the first data. If it is given the shares again meanwhile,
 * Vault unseals twice in one process (1.21: `unsealWithRaft` in its vault/core.go): two loops follow the elections, and one of them
 * stays active after a lost election. So a process is given the shares once: the file `note` says which process was given them, also to a
 * restarted agent. `joining`: undefined for a member that has its data.
 */
export async function giveShares(
  client: Pick<VaultClient, "forgetProgress" | "sealStatus" | "unseal">,
  shares: string[],
  joining: { server: string; note: string } | undefined,
): Promise<"open" | "at work"> {
  // The observation that led here may be older than the note.
  if (joining !== undefined && (await readNote(joining.note)) === joining.server) return "at work";
  // Vault would count the shares of an interrupted attempt together with these.
  await client.forgetProgress();
  let state = await client.sealStatus();
  if (joining !== undefined) await writeNote(joining.note, joining.server);
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
    if (joining !== undefined && error instanceof VaultError) await removeNote(joining.note);
    throw error;
  }
  return state.sealed ? "at work" : "open";
}
