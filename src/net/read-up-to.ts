/**
 * Reads a body to its end, or returns undefined as soon as it is over `mostBytes`. Leaving the loop cancels a response's
 * body, and with it the connection.
 */
export async function readUpTo(
  mostBytes: number,
  body: AsyncIterable<Uint8Array> | null,
): Promise<Buffer<ArrayBuffer> | undefined> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of body ?? []) {
    bytes += chunk.length
    if (bytes > mostBytes) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
