//! Guests: emulator command line (pure), machine states, console, agent, families.
