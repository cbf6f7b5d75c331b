// RUN: r1c-opt %s --verify-diagnostics --split-input-file

// expected-error @+1 {{starts at byte 8, which is not a multiple of 64}}
rt.buffer @x in @a at 8, 128 bytes of "f32"

// -----

rt.program @p {
  // expected-error @+1 {{never reaches -1 from 0 in steps of 1}}
  rt.loop 0 to -1 step 1 {
  }
}

// -----

rt.program @p {
  rt.loop 0 to 2 step 1 {
    // expected-error @+1 {{stands inside another rt.loop: loops do not nest}}
    rt.loop 0 to 2 step 1 {
    }
  }
}

// -----

rt.program @p {
  // expected-error @+1 {{expected 'i'}}
  rt.zero <@x + 4 * j>, 64
}
