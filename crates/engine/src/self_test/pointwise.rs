//! Operations on elements and rows.

use super::case::{Case, Suite};
use super::inputs::Inputs;
use crate::{Backend, DType, Result, ops};

pub(super) async fn run<B: Backend, R: Backend>(suite: &mut Suite<'_, B, R>) {
    for table in [DType::F32, DType::F16, DType::BF16] {
        for hidden_size in [36, 35] {
            suite.check(Embedding { table, hidden_size }).await;
        }
    }
    for hidden_size in [33, 576, 2052] {
        suite.check(RmsNorm { hidden_size }).await;
    }
    for rotary in [16, 10] {
        suite.check(Rope { rotary }).await;
    }
    suite.check(Swiglu).await;
    suite.check(Add).await;
    suite.check(Scale).await;
    suite.check(Fill).await;
    for from in [DType::F32, DType::F16, DType::BF16] {
        suite.check(Cast { from }).await;
    }
    suite.check(Copy).await;
}

struct Embedding {
    table: DType,
    hidden_size: usize,
}

impl Case for Embedding {
    const OP: &'static str = "embedding";

    fn name(&self) -> String {
        format!("{} table, H = {}", self.table, self.hidden_size)
    }

    fn terms(&self) -> usize {
        1
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let table = inputs.floats(&[11, self.hidden_size], self.table)?.into();
        let ids = inputs.words(&[5], &[3, 0, 10, 3, 7])?;
        let out = ops::embedding(&ids, &table, inputs.activation())?;
        inputs.output("out", out);
        Ok(())
    }
}

struct RmsNorm {
    hidden_size: usize,
}

impl Case for RmsNorm {
    const OP: &'static str = "rms_norm";

    fn name(&self) -> String {
        format!("H = {}", self.hidden_size)
    }

    fn terms(&self) -> usize {
        self.hidden_size
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let shape = [7, self.hidden_size];
        let (x, dy) = (inputs.act(&shape)?, inputs.act(&shape)?);
        let weight = inputs.floats(&[self.hidden_size], DType::F32)?;
        inputs.output("y", ops::rms_norm(&x, &weight, 1e-5)?);
        inputs.output("dx", ops::rms_norm_backward(&x, &weight, 1e-5, &dy)?);
        Ok(())
    }
}

struct Rope {
    rotary: usize,
}

impl Case for Rope {
    const OP: &'static str = "rope";

    fn name(&self) -> String {
        format!("{} of 16 elements", self.rotary)
    }

    fn terms(&self) -> usize {
        2
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let x = inputs.act(&[5, 3, 16])?;
        let positions = inputs.words(&[5], &[0, 1, 2, 0, 8])?;
        let table = inputs.rotary_table(9, self.rotary)?;
        inputs.output("out", ops::rope(&x, &positions, &table, false)?);
        inputs.output("dx", ops::rope(&x, &positions, &table, true)?);
        Ok(())
    }
}

struct Swiglu;

impl Case for Swiglu {
    const OP: &'static str = "swiglu";

    fn name(&self) -> String {
        "[7, 130]".to_owned()
    }

    fn terms(&self) -> usize {
        1
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let shape = [7, 130];
        let (gate, up, dy) = (inputs.act(&shape)?, inputs.act(&shape)?, inputs.act(&shape)?);
        inputs.output("out", ops::swiglu(&gate, &up)?);
        let [dgate, dup] = ops::swiglu_backward(&gate, &up, &dy)?;
        inputs.output("dgate", dgate);
        inputs.output("dup", dup);
        Ok(())
    }
}

struct Add;

impl Case for Add {
    const OP: &'static str = "add";

    fn name(&self) -> String {
        "[3, 77]".to_owned()
    }

    fn terms(&self) -> usize {
        1
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let (a, b) = (inputs.act(&[3, 77])?, inputs.act(&[3, 77])?);
        inputs.output("out", ops::add(&a, &b)?);
        ops::add_assign(&a, &b)?;
        inputs.output("in place", a);
        Ok(())
    }
}

struct Scale;

impl Case for Scale {
    const OP: &'static str = "scale";

    fn name(&self) -> String {
        "[3, 77]".to_owned()
    }

    fn terms(&self) -> usize {
        1
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let x = inputs.act(&[3, 77])?;
        ops::scale(&x, 0.37)?;
        inputs.output("x", x);
        Ok(())
    }
}

struct Fill;

impl Case for Fill {
    const OP: &'static str = "fill";

    fn name(&self) -> String {
        "[3, 77]".to_owned()
    }

    fn terms(&self) -> usize {
        1
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let (x, words) = (inputs.act(&[3, 77])?, inputs.words(&[5], &[9; 5])?);
        ops::fill(&x, -2.5)?;
        ops::fill(&words, 3.0)?;
        inputs.exact("x", x);
        inputs.exact("u32", words);
        Ok(())
    }
}

struct Cast {
    from: DType,
}

impl Case for Cast {
    const OP: &'static str = "cast";

    fn name(&self) -> String {
        format!("from {}", self.from)
    }

    fn terms(&self) -> usize {
        1
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let x = inputs.floats(&[3, 77], self.from)?;
        inputs.output("out", ops::cast(&x, inputs.activation())?);
        Ok(())
    }
}

struct Copy;

impl Case for Copy {
    const OP: &'static str = "copy";

    fn name(&self) -> String {
        "[3, 77]".to_owned()
    }

    fn terms(&self) -> usize {
        1
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let (x, words) = (inputs.act(&[3, 77])?, inputs.words(&[3], &[5, 0, 7])?);
        inputs.exact("out", ops::copy(&x)?);
        inputs.exact("u32", ops::copy(&words)?);
        Ok(())
    }
}
