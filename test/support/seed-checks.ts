import fc from 'fast-check'
import { inject } from 'vitest'

// What fast-check draws can be drawn again.
fc.configureGlobal({ seed: inject('seed') })
