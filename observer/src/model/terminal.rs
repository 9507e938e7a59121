//! What a terminal would obey, or hide.

/// Whether a character moves a cursor, hides, or turns what stands around it about: the control
/// characters, and those of Unicode's Default_Ignorable_Code_Point and Bidi_Control.
pub fn moves(c: char) -> bool {
    let hidden = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{115f}'..='\u{1160}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}');
    hidden || c.is_control()
}
