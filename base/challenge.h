/* What a device signs to prove that it holds the certified key: this context, its NUL included, then the 32-byte
 * challenge. The context keeps such a signature from ever being one over something else. docs/link-protocol.md repeats it. */
#pragma once
#define CHALLENGE_CONTEXT "keyline-challenge-v1"
