//! What a statement says, each part with its place in the text. Nothing is resolved yet: names are names.

/// A range of bytes of the statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    /// From where this one begins to where the other ends.
    pub(crate) fn to(self, end: Span) -> Span {
        Span {
            start: self.start,
            end: end.end,
        }
    }
}

/// A call, and when it is made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statement {
    pub(crate) editor: Call,
    pub(crate) condition: Option<Bool>,
}

/// Something that has a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ExprKind {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Vec<u8>),
    Bytes(Vec<u8>),
    /// An enum's symbol, or a converter's name alone.
    Symbol(String),
    Path(Path),
    Call(Call),
    Neg(Box<Expr>),
    /// Operands of one precedence, from left to right.
    Math(Box<Expr>, Vec<(MathOp, Expr)>),
    List(Vec<Expr>),
    /// Keys as they were written, in their order.
    Map(Vec<(Vec<u8>, Expr)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MathOp {
    Add,
    Sub,
    Mul,
    Div,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompareOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// `a.b["c"].d`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Path {
    pub(crate) fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) keys: Vec<Expr>,
    /// Name and keys.
    pub(crate) span: Span,
}

/// `Name(arg, name=arg)["key"]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) args: Vec<Arg>,
    pub(crate) keys: Vec<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arg {
    pub(crate) name: Option<(String, Span)>,
    pub(crate) value: Expr,
}

/// Something that is true or false.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bool {
    Or(Vec<Bool>),
    And(Vec<Bool>),
    Not(Box<Bool>),
    Const(bool),
    Compare(CompareOp, Expr, Expr),
    Call(Expr),
}
