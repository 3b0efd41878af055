import { type Client, ConnectError, createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { SignatureService } from '../gen/bank/signature/v1/signature_pb.ts'
import { ErrorInfoSchema } from '../gen/google/rpc/error_details_pb.ts'

interface Order {
  id: string
  customer: { id: string; phone: string }
  transaction: {
    amount: { currencyCode: string; units: bigint; nanos: number }
    payeeName: string
    payeeAccount: string
  }
}

/** For the whole process: its calls share one connection. */
export function connect(baseUrl: string): Client<typeof SignatureService> {
  return createClient(SignatureService, createGrpcTransport({ baseUrl }))
}

/** Sends the customer a code, and asks for it until it signs the order or no try is left. */
export async function sign(
  client: Client<typeof SignatureService>,
  { id, customer, transaction }: Order,
  askForCode: (triesLeft: number) => Promise<string>,
) {
  const { signature, challenge } = await client.startSignature(
    { idempotencyKey: id, customerId: customer.id, phoneNumber: customer.phone, transaction },
    { timeoutMs: 20_000 },
  )
  if (!signature || !challenge) throw new Error('the answer holds no signature')
  let triesLeft = challenge.triesRemaining
  for (;;) {
    const code = await askForCode(triesLeft)
    try {
      return await client.completeSignature({ signatureId: signature.id, code, transaction })
    } catch (error) {
      const [info] = ConnectError.from(error).findDetails(ErrorInfoSchema)
      triesLeft = info?.reason === 'CODE_REJECTED' ? Number(info.metadata.tries_remaining) : 0
      if (triesLeft === 0) throw error
    }
  }
}
