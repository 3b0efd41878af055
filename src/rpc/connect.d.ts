// Connect's types name the browser's HeadersInit, which Node's own types don't have as a global.
type HeadersInit = NonNullable<ConstructorParameters<typeof Headers>[0]>
