/** For `catch`: only what does not exist is absent; a volume that cannot be read is not empty. */
export function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}
