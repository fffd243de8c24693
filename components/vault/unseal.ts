/** How the shares of the key are given to a server. */
import { type VaultClient, VaultError } from "./client";

/** Which process of the server was given them; kept where an agent that is restarted finds it. */
export interface GivenNote {
  read(): Promise<string | undefined>;
  write(server: string): Promise<void>;
  remove(): Promise<void>;
}

/**
 * A member that joins answers before it is open, and opens once it has the first data. Given the shares again meanwhile, Vault
 * opens twice in one process (1.21: `unsealWithRaft` in its vault/core.go): two loops follow the elections, and one of them goes
 * on calling itself active after it has lost one. So a process gets them once. `joining`: undefined for one that has its data.
 */
export async function giveShares(
  client: Pick<VaultClient, "forgetProgress" | "sealStatus" | "unseal">,
  shares: string[],
  joining: { server: string; note: GivenNote } | undefined,
): Promise<"open" | "at work"> {
  // What led here may have been observed before the note was written.
  if (joining !== undefined && (await joining.note.read()) === joining.server) return "at work";
  // Half of an earlier attempt would be counted together with this one.
  await client.forgetProgress();
  let state = await client.sealStatus();
  await joining?.note.write(joining.server);
  try {
    // One; what an earlier release has initialised may have several.
    for (const share of shares) {
      if (!state.sealed) break;
      state = await client.unseal(share);
      // Enough of them begin the work; then none counts any more.
      if (state.progress === 0) break;
    }
  } catch (error) {
    // After a refusal nothing is at work; without an answer it may be.
    if (error instanceof VaultError) await joining?.note.remove();
    throw error;
  }
  return state.sealed ? "at work" : "open";
}
